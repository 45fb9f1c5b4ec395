package testsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

const (
	gatherTime  = 3 * time.Second
	connectTime = 15 * time.Second
	mediaStream = "whipcast-test-source"
)

var (
	errLost        = errors.New("connection to WHIP server lost")
	errNoSimulcast = errors.New("WHIP server does not take all layers: publish without --simulcast")
)

// sending is one lane of a link.
type sending struct {
	track   *webrtc.TrackLocalStaticRTP
	sender  *webrtc.RTPSender
	rid     string // "" without simulcast
	ssrc    uint32 // once accepted
	packets uint32 // sent, for sender reports
	octets  uint32
}

// link is one peer connection with the video layers and an audio track to send.
// It is an outlet for one goroutine.
type link struct {
	pc    *webrtc.PeerConnection
	lanes []sending // the video layers, the best one first, then the audio
	// Of the header extensions by which a server tells layers apart (RFC 8852);
	// 0 before the answer.
	midID, ridID uint8
	mid          []byte // of the video

	up      chan struct{} // closed when connected
	down    chan struct{} // closed when the connection is lost
	readers sync.WaitGroup
}

// newLink makes a link for a server on this machine or elsewhere. A nil
// simulcast sends one video layer without a RID.
func newLink(simulcast *Simulcast, local bool) (*link, error) {
	api, err := newAPI(simulcast, local)
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
	if err := l.addTracks(simulcast); err != nil {
		l.close()
		return nil, fmt.Errorf("add track: %w", err)
	}
	return l, nil
}

// addTracks adds the video layers and the audio.
func (l *link) addTracks(simulcast *Simulcast) error {
	rids := []string{""}
	if simulcast != nil {
		rids = simulcast.Style.rids()
	}
	for _, rid := range rids {
		var options []func(*webrtc.TrackLocalStaticRTP)
		if rid != "" {
			options = append(options, webrtc.WithRTPStreamID(rid))
		}
		// RFC 9725 §4.4.2: one MediaStream for all tracks.
		track, err := webrtc.NewTrackLocalStaticRTP(h264(), "video", mediaStream, options...)
		if err != nil {
			return err
		}
		l.lanes = append(l.lanes, sending{track: track, rid: rid})
	}
	sound, err := webrtc.NewTrackLocalStaticRTP(opus(), "audio", mediaStream)
	if err != nil {
		return err
	}
	layers := l.lanes
	l.lanes = append(l.lanes, sending{track: sound})
	order := make([]int, len(layers)) // in which a=simulcast names them
	for i := range order {
		order[i] = i
	}
	if simulcast != nil && simulcast.Style == Browser {
		slices.Reverse(order)
	}
	video, err := l.addSender(l.lanes[order[0]].track)
	if err != nil {
		return err
	}
	for _, i := range order[1:] {
		if err := video.AddEncoding(l.lanes[i].track); err != nil {
			return err
		}
	}
	for i := range layers {
		l.lanes[i].sender = video
	}
	l.lanes[len(layers)].sender, err = l.addSender(sound)
	return err
}

func (l *link) addSender(track webrtc.TrackLocal) (*webrtc.RTPSender, error) {
	transceiver, err := l.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, err
	}
	return transceiver.Sender(), nil
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

func newAPI(simulcast *Simulcast, local bool) (*webrtc.API, error) {
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
	if simulcast != nil {
		if err := webrtc.ConfigureSimulcastExtensionHeaders(&media); err != nil {
			return nil, err
		}
	}
	if simulcast != nil && simulcast.Style == Browser {
		if err := webrtc.ConfigureTWCCHeaderExtensionSender(&media, &registry); err != nil {
			return nil, err
		}
		media.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, webrtc.RTPCodecTypeVideo)
		media.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, webrtc.RTPCodecTypeAudio)
	}

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
	if err := l.negotiated(answer); err != nil {
		return err
	}
	for _, lane := range l.lanes {
		// NACKs reach their interceptor only while somebody reads.
		l.readers.Go(func() {
			buffer := make([]byte, 1500)
			for {
				if err := lane.readRTCP(buffer); err != nil {
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

// readRTCP waits for the next RTCP packet about the lane.
func (s *sending) readRTCP(buffer []byte) error {
	if s.rid == "" {
		_, _, err := s.sender.Read(buffer)
		return err
	}
	_, _, err := s.sender.ReadSimulcast(buffer, s.rid)
	return err
}

// negotiated reads from an answer what packets need.
func (l *link) negotiated(answer string) error {
	for i := range l.lanes {
		lane := &l.lanes[i]
		for _, e := range lane.sender.GetParameters().Encodings {
			if e.RID == lane.rid {
				lane.ssrc = uint32(e.SSRC)
			}
		}
	}
	if l.lanes[0].rid == "" {
		return nil
	}
	// RFC 8853 §5.3.3: only layers that the answer names may be sent.
	received := strings.Split(simulcastOf(answer), ";")
	for _, lane := range l.lanes[:len(l.lanes)-1] {
		if !slices.Contains(received, lane.rid) {
			return errNoSimulcast
		}
	}
	for _, e := range l.lanes[0].sender.GetParameters().HeaderExtensions {
		switch e.URI {
		case sdp.SDESMidURI:
			l.midID = uint8(e.ID) //nolint:gosec // at most 14
		case sdp.SDESRTPStreamIDURI:
			l.ridID = uint8(e.ID) //nolint:gosec // at most 14
		}
	}
	if l.midID == 0 || l.ridID == 0 {
		return errNoSimulcast
	}
	l.mid = []byte(l.pc.GetTransceivers()[0].Mid())
	return nil
}

// simulcastOf returns the layers that an answer receives, "" if none.
func simulcastOf(answer string) string {
	for line := range strings.Lines(answer) {
		if layers, ok := strings.CutPrefix(line, "a=simulcast:recv "); ok {
			return strings.TrimSpace(layers)
		}
	}
	return ""
}

// packet implements outlet. A player learns here that the connection is lost.
func (l *link) packet(lane int, p *rtp.Packet) error {
	select {
	case <-l.down:
		return errLost
	default:
	}
	to := &l.lanes[lane]
	to.packets++
	to.octets += uint32(len(p.Payload)) //nolint:gosec // at most maxPayload
	if to.rid != "" {
		if err := p.SetExtension(l.midID, l.mid); err != nil {
			return fmt.Errorf("name the section of a packet: %w", err)
		}
		if err := p.SetExtension(l.ridID, []byte(to.rid)); err != nil {
			return fmt.Errorf("name the layer of a packet: %w", err)
		}
	}
	return to.track.WriteRTP(p)
}

func (l *link) report(lane int, ntp time.Time, rtp uint32) error {
	from := &l.lanes[lane]
	return l.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{
		SSRC:        from.ssrc,
		NTPTime:     ntpTime(ntp),
		RTPTime:     rtp,
		PacketCount: from.packets,
		OctetCount:  from.octets,
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
