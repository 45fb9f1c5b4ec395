package whip

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// TestResource runs the rules that WHIP and WHEP share (E18).
func TestResource(t *testing.T) {
	rtctest.Resource(t, func(t *testing.T, strict bool) rtctest.Target {
		g := start(t, rtc.RegistryConfig{Strict: strict}, rtc.Config{})
		remotes := map[*rtctest.Remote]sending{}
		sequence := uint16(0)
		return rtctest.Target{
			Endpoint: g.endpoint("live"), Direction: rtc.Receive, Token: "secret", Other: "other",
			Remote: func(t testing.TB, o rtctest.Options) *rtctest.Remote {
				x := newSending(t, o)
				remotes[x.Remote] = x
				return x.Remote
			},
			// Media flows when a packet of the audio track arrives in the Stream.
			Flows: func(t testing.TB, x *rtctest.Remote) {
				t.Helper()
				s, ok := g.hub.Lookup("live")
				if !ok {
					t.Fatal("no stream")
				}
				b, err := s.Subscribe(stream.LayerID{Kind: stream.Audio})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				got := make(chan struct{})
				go func() {
					defer close(got)
					for n := 0; n == 0; {
						if n, err = b.Read(t.Context(), make([]stream.Packet, 1)); n == 0 && !errors.Is(err, stream.ErrOffline) {
							return
						}
					}
				}()
				for {
					sequence++
					p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: sequence, Timestamp: uint32(sequence) * 960}, Payload: []byte{0xfc, 0xff, 0xfe}}
					if err := remotes[x].audio.WriteRTP(p); err != nil {
						t.Fatal(err)
					}
					select {
					case <-got:
						return
					case <-t.Context().Done():
						t.Fatal("no media")
					case <-time.After(20 * time.Millisecond):
					}
				}
			},
		}
	})
}
