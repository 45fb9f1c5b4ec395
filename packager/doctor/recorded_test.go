package doctor_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
)

// packet is one of a recording: RTP, or a sender report.
type packet struct {
	at     time.Time
	ssrc   uint32
	rtp    *rtp.Packet
	report *rtcp.SenderReport
}

// opusType is the payload type of sound in all recordings.
const opusType = 111

// recording reads what a real program sent: one file, or one a layer.
func recording(tb testing.TB, name string) []packet {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "testdata", name+"*.rtpdump"))
	if err != nil || len(paths) == 0 {
		tb.Fatal(name, err)
	}
	if whole := filepath.Join("..", "testdata", name+".rtpdump"); slices.Contains(paths, whole) {
		paths = []string{whole}
	}
	var all []packet
	for _, path := range paths {
		all = append(all, dumped(tb, path)...)
	}
	slices.SortStableFunc(all, func(a, b packet) int { return a.at.Compare(b.at) })
	return all
}

// dumped reads one file.
func dumped(tb testing.TB, path string) []packet {
	tb.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	_, dump, _ := bytes.Cut(file, []byte("\n"))
	begin := time.Unix(1_700_000_000, 0)
	var all []packet
	for dump = dump[16:]; len(dump) > 0; {
		size := binary.BigEndian.Uint16(dump)
		at := begin.Add(time.Duration(binary.BigEndian.Uint32(dump[4:])) * time.Millisecond)
		body, control := dump[8:size], binary.BigEndian.Uint16(dump[2:]) == 0
		dump = dump[size:]
		if !control {
			p := &rtp.Packet{}
			if err := p.Unmarshal(body); err != nil {
				tb.Fatal(err)
			}
			all = append(all, packet{at: at, ssrc: p.SSRC, rtp: p})
			continue
		}
		compound, err := rtcp.Unmarshal(body)
		if err != nil {
			tb.Fatal(err)
		}
		for _, c := range compound {
			if sr, ok := c.(*rtcp.SenderReport); ok {
				all = append(all, packet{at: at, ssrc: sr.SSRC, report: sr})
			}
		}
	}
	return all
}

// repeated plays a recording many times, each layer's numbers going on. What
// ran at about real time does so on the whole.
func repeated(packets []packet, times int, rates map[uint32]float64) []packet {
	length := packets[len(packets)-1].at.Sub(packets[0].at) + 20*time.Millisecond
	first, last := map[uint32]*rtp.Packet{}, map[uint32]*rtp.Packet{}
	for _, p := range packets {
		switch {
		case p.rtp == nil:
		case first[p.ssrc] == nil:
			first[p.ssrc], last[p.ssrc] = p.rtp, p.rtp
		case int16(p.rtp.SequenceNumber-last[p.ssrc].SequenceNumber) > 0:
			last[p.ssrc] = p.rtp
		}
	}
	media := map[uint32]time.Duration{}
	for ssrc, rate := range rates {
		seconds := float64(last[ssrc].Timestamp-first[ssrc].Timestamp) / rate
		media[ssrc] = time.Duration(seconds*1e9) + 20*time.Millisecond
	}
	whole := length
	for _, m := range media {
		whole = max(whole, m)
	}
	var all []packet
	for i := range times {
		for _, p := range packets {
			if last[p.ssrc] == nil {
				continue
			}
			each := whole
			if m := media[p.ssrc]; m < length*8/10 { // it did not run at real time
				each = m
			}
			later := uint32(float64(i) * each.Seconds() * rates[p.ssrc])
			p.at = p.at.Add(time.Duration(i) * whole)
			if p.rtp != nil {
				next := *p.rtp
				next.Timestamp += later
				next.SequenceNumber += uint16(i) * (last[p.ssrc].SequenceNumber - first[p.ssrc].SequenceNumber + 1)
				p.rtp = &next
			} else {
				next := *p.report
				next.RTPTime += later
				p.report = &next
			}
			all = append(all, p)
		}
	}
	return all
}

// layer is one Layer of a recording at the doctor's.
type layer struct {
	*diary
	asm     *au.Assembler
	units   []au.Unit
	newest  time.Time
	reports int
	rtp     uint32 // of the newest packet
}

func newLayer(t *testing.T, cfg doctor.Config, begin time.Time) *layer {
	t.Helper()
	asm, err := au.New(cfg.Codec, au.Config{Strict: cfg.OnRequest})
	if err != nil {
		t.Fatal(err)
	}
	return &layer{diary: newDiary(doctor.New(cfg, begin), begin), asm: asm}
}

func (l *layer) take(p packet) {
	if p.report != nil {
		// What the stream package believes: near the media, and not zero (specs R4).
		if off := int32(p.report.RTPTime - l.rtp); p.report.NTPTime != 0 && off < 900000 && off > -900000 {
			l.reports++
			l.e.SenderReport(p.at)
		}
		return
	}
	l.newest, l.rtp = p.at, p.rtp.Timestamp
	l.give(l.asm.Push(au.Packet{
		Arrival: p.at, Timestamp: p.rtp.Timestamp, Sequence: p.rtp.SequenceNumber,
		Marker: p.rtp.Marker, Payload: p.rtp.Payload,
	}, l.units[:0]))
}

func (l *layer) give(units []au.Unit) {
	for i := range units {
		l.e.Unit(&units[i])
	}
	l.units = units
}

// TestRecordedClients: what the doctor says of real programs. They were recorded
// for some seconds only and are repeated.
//
//	replay client=NAME codec=H264 times=10 [onrequest] [simulcast]
func TestRecordedClients(t *testing.T) {
	script(t, "recorded.txt", func(t *testing.T, commands []string) string {
		verb, a := parse(commands[0])
		if verb != "replay" {
			t.Fatalf("no command %q", verb)
		}
		packets := recording(t, a["client"])
		var order []uint32 // of the layers, in the order of the recording
		for _, p := range packets {
			if p.rtp != nil && !slices.Contains(order, p.ssrc) {
				order = append(order, p.ssrc)
			}
		}
		layers, names, rates := map[uint32]*layer{}, map[uint32]string{}, map[uint32]float64{}
		begin := packets[0].at
		for _, ssrc := range order {
			i := slices.IndexFunc(packets, func(p packet) bool { return p.rtp != nil && p.ssrc == ssrc })
			cfg := doctor.Config{Codec: a["codec"], OnRequest: a.has("onrequest"), Simulcast: a.has("simulcast")}
			rates[ssrc] = 90000
			if packets[i].rtp.PayloadType == opusType {
				cfg, rates[ssrc] = doctor.Config{Codec: "Opus", Stereo: true}, 48000
			}
			layers[ssrc] = newLayer(t, cfg, begin)
			names[ssrc] = cfg.Codec
		}
		visit := func(now time.Time) {
			for ssrc, l := range layers {
				l.give(l.asm.Advance(now, l.units[:0]))
				l.e.Count(now, l.asm.Stats())
				var others time.Time
				for other, o := range layers {
					if other != ssrc && o.newest.After(others) {
						others = o.newest
					}
				}
				l.e.Advance(now, others)
				l.look(now)
			}
		}
		packets = repeated(packets, int(a.float(t, "times", 1)), rates)
		tick := begin
		for _, p := range packets {
			for ; tick.Before(p.at); tick = tick.Add(100 * time.Millisecond) {
				visit(tick)
			}
			if l := layers[p.ssrc]; l != nil {
				l.take(p)
			}
		}
		var out []string
		for _, ssrc := range order {
			l, s := layers[ssrc], layers[ssrc].asm.Stats()
			out = append(out, fmt.Sprintf("%s: %d units, %d key frames, %d lost, %d reports, %v", names[ssrc], s.Units, s.Keyframes, s.Lost, l.reports, tick.Sub(begin).Round(time.Second)))
			for _, line := range l.lines {
				out = append(out, "  "+line)
			}
			for _, f := range l.e.Findings() {
				out = append(out, "  “"+f.Words+"”")
			}
		}
		return strings.Join(out, "\n")
	})
}
