package rtc

import (
	"context"
	"fmt"
	"time"

	"github.com/pion/webrtc/v4"
)

// gatherLimit bounds the wait for our own candidates. With shared sockets they
// come within milliseconds (RFC 9725 §4.3.2, specs W16).
const gatherLimit = 2 * time.Second

// negotiate gives Pion a description of the other side and returns our finished
// answer with all candidates.
func negotiate(ctx context.Context, pc *webrtc.PeerConnection, o *Offer, description string, prepare func() error) (string, error) {
	err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: description})
	if err != nil {
		return "", fmt.Errorf("set offer: %w", err)
	}
	if err := prepare(); err != nil {
		return "", err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("create answer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", fmt.Errorf("set answer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, gatherLimit)
	defer cancel()
	select {
	case <-gathered:
	case <-ctx.Done(): // answer with what there is
	}
	return finishAnswer(pc.LocalDescription().SDP, o)
}

// listen turns Pion's callbacks into what a Session is made of.
func (x *Session) listen() {
	x.pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		defer x.rescue()
		switch state {
		case webrtc.PeerConnectionStateConnected:
			x.noteWay()
			x.registry.connected(x)
			x.moved()
		case webrtc.PeerConnectionStateDisconnected:
			x.facts(vanished) // while the pairs are known: they are not once it failed
		case webrtc.PeerConnectionStateFailed:
			x.mu.Lock()
			x.gaveUp = true
			x.mu.Unlock()
			x.End(x.explain(x.lost()))
		case webrtc.PeerConnectionStateClosed:
			x.End(ErrGone)
		}
	})
	x.hear()
	x.pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		defer x.rescue()
		t := Track{TrackRemote: track, Kind: Audio, receiver: receiver}
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			t.Kind = Video
		}
		select {
		case x.tracks <- t:
		default: // more tracks than the offer had layers: nobody asked for them
			x.log.Warn("track ignored", "rid", track.RID())
		}
	})
}

// hear takes the data channels of a Session that has them.
func (x *Session) hear() {
	x.pc.OnDataChannel(func(channel *webrtc.DataChannel) {
		channel.OnOpen(func() {
			defer x.rescue()
			stream, err := channel.Detach()
			if err != nil {
				x.log.Debug("data channel ignored", "error", err)
				return
			}
			writer, ok := stream.(messageWriter)
			if !ok { // it is Pion's own type
				_ = stream.Close()
				return
			}
			if n := x.opened.Add(1); n > maxChannels {
				if n == maxChannels+1 {
					x.log.Warn("further data channels are closed: a session may have four")
				}
				_ = stream.Close() // nothing of it was used
				return
			}
			c := &Channel{label: channel.Label(), reader: stream, writer: writer}
			if id := channel.ID(); id != nil {
				c.id = *id
			}
			x.channels <- c // there is room for all
		})
	})
}

// lost says why a connection failed.
func (x *Session) lost() error {
	select {
	case <-x.connected:
		return ErrLost
	default:
		return ErrNeverConnected
	}
}

// send adds what a Send Session sends.
func (x *Session) send() error {
	for _, track := range x.opening.Tracks {
		sender, err := x.pc.AddTrack(&carried{track, x})
		if err != nil {
			return fmt.Errorf("add track: %w", err)
		}
		x.senders = append(x.senders, sender)
	}
	if len(x.senders) > 0 {
		x.follow()
	}
	return nil
}
