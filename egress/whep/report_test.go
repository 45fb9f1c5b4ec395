package whep

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/rtcp"

	"github.com/whipcast/whipcast/internal/rtc"
)

// TestCompound: the bytes are those of Pion's packets, whatever the name's length.
func TestCompound(t *testing.T) {
	for _, cname := range []string{"", "a", "show", "five5", "sixsix", "a.stream.with-a_name-of.64.letters-0123456789-0123456789-01234567"} {
		c := newCompound(cname)
		for i := range uint32(3) {
			sr := rtcp.SenderReport{SSRC: 4711 + i, NTPTime: 0x0102030405060708, RTPTime: 0x90abcdef, PacketCount: 99, OctetCount: 1 << 31}
			want, err := rtcp.Marshal([]rtcp.Packet{&sr, rtcp.NewCNAMESourceDescription(sr.SSRC, cname)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := rtcp.Marshal(c.with(sr))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: %v\n%x, want\n%x", cname, err, got, want)
			}
		}
	}
	c, sr := newCompound("show"), rtcp.SenderReport{SSRC: 1}
	if n := testing.AllocsPerRun(100, func() { c.with(sr) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadReceiverReport(t *testing.T) {
	want := []rtcp.ReceptionReport{
		{SSRC: 4711, FractionLost: 7, TotalLost: 0x123456, LastSequenceNumber: 0x20001, Jitter: 5, LastSenderReport: 6, Delay: 7},
		{SSRC: 4712, LastSequenceNumber: 9},
	}
	b, err := (&rtcp.ReceiverReport{SSRC: 1, Reports: want}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var got []rtcp.ReceptionReport
	if !readReceiverReport(b, 2, func(r rtcp.ReceptionReport) { got = append(got, r) }) {
		t.Error("malformed")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if readReceiverReport(b, 3, func(rtcp.ReceptionReport) { t.Error("a block of a malformed report") }) {
		t.Error("a report shorter than it says is taken")
	}
	track := newTestTrack(rtc.Video, &screen{}, &Metrics{})
	now, w := time.Now(), track.wire()
	if n := testing.AllocsPerRun(100, func() { track.handle(b, now, w) }); n > 0 {
		t.Errorf("%v allocations a report", n)
	}
	if !track.pilot.reported || track.pilot.extended != 0x20001 || track.metrics.Malformed.Load() != 0 {
		t.Errorf("the pilot was not told: %+v", track.pilot.extended)
	}
}
