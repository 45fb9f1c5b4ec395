package rtc

import (
	"fmt"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// captureTimeURI is that of abs-capture-time (specs R6).
const captureTimeURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"

// TransportCC is the header extension that numbers packets for transport-wide
// feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
const TransportCC = sdp.TransportCCURI

// headerExtensions returns the header extensions that are accepted. Without
// transport-cc browsers stay at their start bitrate (specs R53). Video
// orientation is left out, so that browsers turn the pictures themselves (R24).
// A viewer's video may be numbered, so that its feedback tells what its network
// carries.
func headerExtensions(d Direction) []string {
	if d == Send {
		return []string{TransportCC}
	}
	return []string{
		sdp.SDESMidURI,
		sdp.SDESRTPStreamIDURI,
		sdp.SDESRepairRTPStreamIDURI,
		TransportCC,
		captureTimeURI,
	}
}

// feedback returns the feedback that the section's codec is answered with.
func (s *Section) feedback() []webrtc.RTCPFeedback {
	var all []webrtc.RTCPFeedback
	if s.NACK {
		all = append(all, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK})
	}
	if s.PLI {
		all = append(all, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK, Parameter: "pli"})
	}
	if s.FIR {
		all = append(all, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBCCM, Parameter: "fir"})
	}
	if s.TransportCC {
		all = append(all, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC})
	}
	if s.REMB {
		all = append(all, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBGoogREMB})
	}
	return all
}

// mediaEngine knows exactly what the offer was accepted with.
func mediaEngine(o *Offer) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	for _, n := range o.normals {
		if n.section.Kind == Messages {
			continue
		}
		kind := webrtc.RTPCodecTypeVideo
		if n.section.Kind == Audio {
			kind = webrtc.RTPCodecTypeAudio
		}
		c := n.section.Codec
		err := m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: c.mime(), ClockRate: c.ClockRate, Channels: uint16(c.Channels),
				SDPFmtpLine: c.Fmtp, RTCPFeedback: n.section.feedback(),
			},
			PayloadType: webrtc.PayloadType(c.PayloadType),
		}, kind)
		if err == nil && n.rtx != 0 {
			err = m.RegisterCodec(webrtc.RTPCodecParameters{
				RTPCodecCapability: webrtc.RTPCodecCapability{
					MimeType: webrtc.MimeTypeRTX, ClockRate: c.ClockRate,
					SDPFmtpLine: fmt.Sprintf("apt=%d", c.PayloadType),
				},
				PayloadType: webrtc.PayloadType(n.rtx),
			}, kind)
		}
		if err != nil {
			return nil, fmt.Errorf("register codec: %w", err)
		}
		direction := webrtc.RTPTransceiverDirectionRecvonly
		if o.direction == Send {
			direction = webrtc.RTPTransceiverDirectionSendonly
		}
		for _, uri := range headerExtensions(o.direction) {
			err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind, direction)
			if err != nil {
				return nil, fmt.Errorf("register header extension: %w", err)
			}
		}
	}
	return m, nil
}

// How lost packets are asked for (specs R26).
const (
	nackLog      = 2048 // packets remembered of each layer
	nackInterval = 50 * time.Millisecond
	nackTries    = 10
	twccInterval = 100 * time.Millisecond
)

// receiving returns the interceptors of a Session that receives: NACKs,
// receiver reports, transport-wide congestion feedback, and nothing that only a
// sender needs.
func receiving() (*interceptor.Registry, error) {
	r := &interceptor.Registry{}
	generator, err := nack.NewGeneratorInterceptor(
		nack.GeneratorSize(nackLog), nack.GeneratorInterval(nackInterval), nack.GeneratorMaxNacksPerPacket(nackTries))
	if err != nil {
		return nil, fmt.Errorf("set up NACK: %w", err)
	}
	reports, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, fmt.Errorf("set up receiver reports: %w", err)
	}
	congestion, err := twcc.NewSenderInterceptor(twcc.SendInterval(twccInterval))
	if err != nil {
		return nil, fmt.Errorf("set up transport-cc: %w", err)
	}
	r.Add(generator)
	r.Add(reports)
	r.Add(congestion)
	return r, nil
}
