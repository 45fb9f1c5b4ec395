package testsource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	gatherTime  = 3 * time.Second
	connectTime = 15 * time.Second
)

var errLost = errors.New("connection to WHIP server lost")

// link is one peer connection with a video and an audio track to send. It is an
// outlet for one goroutine.
type link struct {
	pc      *webrtc.PeerConnection
	tracks  [kinds]*webrtc.TrackLocalStaticRTP
	senders [kinds]*webrtc.RTPSender
	packets [kinds]uint32 // sent, for sender reports
	octets  [kinds]uint32

	up      chan struct{} // closed when connected
	down    chan struct{} // closed when the connection is lost
	readers sync.WaitGroup
}

func newLink(local bool) (*link, error) {
	api, err := newAPI(local)
	if err != nil {
		return nil, fmt.Errorf("set up WebRTC: %w", err)
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return nil, fmt.Errorf("open WebRTC connection: %w", err)
	}
	l := &link{pc: pc, up: make(chan struct{}), down: make(chan struct{})}
	var up, down sync.Once
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			up.Do(func() { close(l.up) })
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			down.Do(func() { close(l.down) }) // also when the server closed DTLS
		default:
		}
	})
	for k, codec := range [kinds]webrtc.RTPCodecCapability{h264(), opus()} {
		if err := l.addTrack(kind(k), codec); err != nil {
			l.close()
			return nil, fmt.Errorf("add track: %w", err)
		}
	}
	return l, nil
}

func (l *link) addTrack(k kind, codec webrtc.RTPCodecCapability) error {
	// RFC 9725 §4.4.2: one MediaStream for all tracks.
	track, err := webrtc.NewTrackLocalStaticRTP(codec, [kinds]string{"video", "audio"}[k], "whipcast-test-source")
	if err != nil {
		return err
	}
	transceiver, err := l.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return err
	}
	l.tracks[k], l.senders[k] = track, transceiver.Sender()
	return nil
}

func h264() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
		SDPFmtpLine:  "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
		RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}
}

func opus() webrtc.RTPCodecCapability {
	return webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
		SDPFmtpLine: "minptime=10;stereo=1;sprop-stereo=1",
	}
}

func newAPI(local bool) (*webrtc.API, error) {
	var media webrtc.MediaEngine
	if err := media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: h264(), PayloadType: 96}, webrtc.RTPCodecTypeVideo); err != nil {
		return nil, err
	}
	if err := media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: opus(), PayloadType: 111}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	// Of all interceptors only the answers to NACKs: reports are made by the
	// player, which knows the media's clock.
	var registry interceptor.Registry
	responder, err := nack.NewResponderInterceptor()
	if err != nil {
		return nil, err
	}
	registry.Add(responder)

	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(local)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetICETimeouts(4*time.Second, 6*time.Second, 2*time.Second)
	return webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(&registry), webrtc.WithSettingEngine(settings)), nil
}

// offer returns the SDP with all candidates.
func (l *link) offer(ctx context.Context) (string, error) {
	offer, err := l.pc.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("make offer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(l.pc)
	if err := l.pc.SetLocalDescription(offer); err != nil {
		return "", fmt.Errorf("make offer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	select {
	case <-gathered:
	case <-ctx.Done(): // offer what is there
	}
	return l.pc.LocalDescription().SDP, nil
}

// accept takes the answer and waits until media can flow.
func (l *link) accept(ctx context.Context, answer string) error {
	if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return fmt.Errorf("read answer of WHIP server: %w", err)
	}
	for _, sender := range l.senders {
		// NACKs reach their interceptor only while somebody reads.
		l.readers.Go(func() {
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(buffer); err != nil {
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTime, errors.New("no media connection to the WHIP server: its UDP port may be closed"))
	defer cancel()
	select {
	case <-l.up:
		return nil
	case <-l.down:
		return errLost
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// packet implements outlet. A player learns here that the connection is lost.
func (l *link) packet(k kind, p *rtp.Packet) error {
	select {
	case <-l.down:
		return errLost
	default:
	}
	l.packets[k]++
	l.octets[k] += uint32(len(p.Payload)) //nolint:gosec // at most maxPayload
	return l.tracks[k].WriteRTP(p)
}

func (l *link) report(k kind, ntp time.Time, rtp uint32) error {
	return l.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{
		SSRC:        uint32(l.senders[k].GetParameters().Encodings[0].SSRC),
		NTPTime:     ntpTime(ntp),
		RTPTime:     rtp,
		PacketCount: l.packets[k],
		OctetCount:  l.octets[k],
	}})
}

// ntpTime returns t as NTP's 32.32 fixed point seconds since 1900 (RFC 5905 §6).
func ntpTime(t time.Time) uint64 {
	const from1900to1970 = 2_208_988_800
	seconds := uint64(t.Unix() + from1900to1970) //nolint:gosec // positive until 2036, then it wraps as NTP does
	return seconds<<32 | uint64(t.Nanosecond())<<32/1_000_000_000
}

// close ends the connection and waits for all it started.
func (l *link) close() {
	_ = l.pc.GracefulClose()
	l.readers.Wait()
}
