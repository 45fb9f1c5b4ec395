package packager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// layersFor is how long the first multivariant playlist waits for all layers
// (specs R43).
const layersFor = 3 * time.Second

// muchLess is the share of a BANDWIDTH that is worth a new one.
const muchLess = 0.6

// announcement remembers what the multivariant playlist says.
type announcement struct {
	rows    int
	offers  []offered // by reel
	settled bool      // written after several segments
}

// offered is what was said of one reel.
type offered struct {
	bandwidth int
	average   int
	params    *au.Params
}

// index is the key of the multivariant playlist.
func (p *presentation) index() string { return p.stream + "/" + playlist }

// offered returns the reels that the multivariant playlist names, best first: the
// largest picture, whatever the layers are called.
func (p *presentation) offered() []*reel {
	var all []*reel
	for _, r := range p.reels {
		if r.media != nil && !r.misfit && r.params != nil {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *reel) int {
		return b.params.Width*b.params.Height - a.params.Width*a.params.Height
	})
	return all
}

// awaited reports whether a layer may still come that the first multivariant
// playlist should name.
func (p *presentation) awaited() bool {
	if p.announced.rows > 0 || fromTicks(p.lead.end, p.lead.rate) >= layersFor {
		return false
	}
	for _, r := range p.reels {
		if r.track >= 0 && !r.misfit && r.media == nil {
			return true
		}
	}
	return false
}

// announce writes the multivariant playlist: at first, and again when more is
// known of the bit rates, a codec has changed, or a layer has joined.
func (p *presentation) announce(ctx context.Context) error {
	if p.awaited() {
		return nil
	}
	reels := p.offered()
	a := &p.announced
	settle := !a.settled && p.lead.rates.segments >= 3
	changed := settle || len(reels) != a.rows
	for len(a.offers) < len(p.reels) {
		a.offers = append(a.offers, offered{})
	}
	for i, r := range p.reels {
		if r.media != nil && p.offer(&a.offers[i], r, settle) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	a.rows, a.settled = len(reels), a.settled || settle
	text, err := p.multivariant(reels)
	if err != nil {
		return fmt.Errorf("announce %s: %w", p.stream, err)
	}
	p.shelf.keep(p.index())
	p.out.put(ctx, storage.Object{
		Key: p.index(), Kind: storage.Multivariant, Type: mpegURL, Body: storage.Body{text},
	})
	return nil
}

// offer takes what is known of a reel. It reports whether that is to be said.
func (p *presentation) offer(o *offered, r *reel, settle bool) bool { //nolint:revive // a fact, not a mode
	peak, average := r.rates.highest()+p.loudest(), r.rates.average()
	said := bandwidth(peak * 1.25)
	settle = settle || p.announced.settled && float64(said) < muchLess*float64(o.bandwidth) // players would choose less than they could
	if o.params == r.params && !settle && peak <= float64(o.bandwidth) && average <= float64(o.average)*1.05 {
		return false
	}
	o.params, o.average = r.params, bandwidth(average)
	if !settle {
		said = max(said, o.bandwidth)
	}
	o.bandwidth = said
	return true
}

// loudest is the highest bit rate of a voice.
func (p *presentation) loudest() float64 {
	rate := 0.0
	for _, v := range p.voices {
		rate = max(rate, v.rates.highest())
	}
	if p.solo {
		return 0
	}
	return rate
}

func (p *presentation) multivariant(reels []*reel) ([]byte, error) {
	var variants []hls.Variant
	if p.solo {
		for _, v := range p.voices {
			variants = append(variants, p.alone(v.rendition))
		}
		variants = append(variants, p.alone(p.lead.rendition))
		return hls.Multivariant(variants, nil)
	}
	var audio []hls.Rendition
	rows := p.rows(reels)
	for _, v := range p.voices {
		for i, r := range reels {
			row := rows[i]
			row.Codecs += "," + fmp4.Codecs(v.params)
			row.AverageBandwidth = bandwidth(r.rates.average() + v.rates.average())
			row.Audio = v.name
			variants = append(variants, row)
		}
		audio = append(audio, hls.Rendition{
			Group: v.name, Name: "Audio", URI: p.id + "/" + v.name + "/" + playlist,
			Channels: max(v.params.Channels, 1), Default: true, Autoselect: true,
		})
	}
	if len(p.voices) == 0 {
		variants = rows
	}
	return hls.Multivariant(variants, audio)
}

// rows are those of the video renditions without their audio, best first. Where one
// picture is in several of them, as in a stage's program, the better one says a little
// more: players take equal ones for copies of one, of which they use the first, and
// tell the better one by its bandwidth.
func (p *presentation) rows(reels []*reel) []hls.Variant {
	rows := make([]hls.Variant, len(reels))
	for i, r := range slices.Backward(reels) {
		rows[i] = p.row(r, len(reels)-i)
		if i+1 < len(rows) && rows[i].Height == rows[i+1].Height && rows[i].Width == rows[i+1].Width {
			rows[i].Bandwidth = max(rows[i].Bandwidth, rows[i+1].Bandwidth+1)
		}
	}
	return rows
}

// alone is the row of a voice where there is no video.
func (p *presentation) alone(r *rendition) hls.Variant {
	return hls.Variant{
		URI: p.id + "/" + r.name + "/" + playlist, Codecs: fmp4.Codecs(r.params),
		Bandwidth: bandwidth(r.rates.highest() * 1.25), AverageBandwidth: bandwidth(r.rates.average()),
	}
}

// row is the row of a video rendition without its audio. Score tells the better
// of several apart (specs L76).
func (p *presentation) row(r *reel, score int) hls.Variant {
	v := hls.Variant{
		URI: p.id + "/" + r.name + "/" + playlist, Codecs: fmp4.Codecs(r.params),
		AverageBandwidth: bandwidth(r.rates.average()),
		Width:            displayed(r.params), Height: r.params.Height,
		FrameRate:  r.frameRate(),
		VideoRange: videoRange(r.params),
	}
	for i, other := range p.reels {
		if other == r {
			v.Bandwidth = p.announced.offers[i].bandwidth
		}
	}
	if p.announced.rows > 1 {
		v.Score = float64(score)
	}
	return v
}

// displayed is how wide a picture is on square pixels (specs R24, L76).
func displayed(p *au.Params) int {
	if p.SARWidth <= 0 || p.SARHeight <= 0 {
		return p.Width
	}
	return (p.Width*p.SARWidth + p.SARHeight/2) / p.SARHeight
}

// videoRange returns VIDEO-RANGE for the transfer characteristics (ISO/IEC
// 23091-2, specs L76).
func videoRange(p *au.Params) string {
	switch p.Transfer {
	case 16:
		return "PQ"
	case 18:
		return "HLG"
	}
	return "SDR"
}
