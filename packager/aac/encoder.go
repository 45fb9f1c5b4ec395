//go:build !noaac

package aac

import (
	"fmt"

	goaac "github.com/tphakala/go-aac"
)

// lgpl is the encoder of go-aac. Nothing else in the program sees that module.
type lgpl struct {
	encoder *goaac.Encoder
	cfg     goaac.EncoderConfig
	planes  [2][]float32
}

func newEncoder(bitrate int) (encoder, error) {
	cfg := goaac.EncoderConfig{SampleRate: Rate, Channels: 2, Bitrate: bitrate}
	e, err := goaac.NewEncoder(cfg)
	if err != nil {
		return nil, fmt.Errorf("make an AAC encoder: %w", err)
	}
	return &lgpl{encoder: e, cfg: cfg}, nil
}

func (e *lgpl) encode(dst []byte, left, right []float32) ([]byte, error) {
	e.planes = [2][]float32{left, right}
	return e.encoder.EncodeFrame(dst, e.planes[:])
}

func (e *lgpl) reset() error { return e.encoder.Reset(e.cfg) }

func (e *lgpl) config() []byte { return e.encoder.AudioSpecificConfig() }
