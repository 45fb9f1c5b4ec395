package packager

import (
	"context"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
)

// Record keeps what presentations were made of, for what is listed after their
// segments have left the live playlists. It is a log for each presentation, of
// lines that hls.ParseEntry and hls.ParseDescription read. One goroutine a stream
// uses it, and it should not be slow: some hundred bytes are written at each
// segment.
type Record interface {
	// Begin says that a presentation begins, or goes on after a restart.
	Begin(ctx context.Context, stream, presentation string) error
	// Append adds whole lines.
	Append(ctx context.Context, stream, presentation string, lines []byte) error
	// End says that a presentation has ended: all its objects were put. It may be
	// one of an earlier start of the program that cannot go on.
	End(ctx context.Context, stream, presentation string) error
}

// described is what the record was told last of a rendition.
type described struct {
	params *au.Params
	paced  bool // with its frame rate
}

// pacedAfter is after how many segments a frame rate is known.
const pacedAfter = 3

// note writes the segments that were closed since the last call. It comes before
// the Ledger's line: so a kill between the two makes a number come twice in the
// record rather than leave a hole.
func (p *presentation) note(ctx context.Context) {
	if p.cfg.Record == nil {
		return
	}
	var lines []byte
	for _, r := range p.renditions() {
		if r.media.Position().MSN != r.noted {
			lines = p.noteRendition(lines, r)
		}
	}
	if len(lines) > 0 {
		p.noteError(p.cfg.Record.Append(ctx, p.stream, p.id, lines))
	}
}

// noteRendition appends the lines of one rendition.
func (p *presentation) noteRendition(lines []byte, r *rendition) []byte {
	state := r.media.Since(r.noted)
	if paced := r.rates.segments >= pacedAfter; r.params != nil && (r.described.params != r.params || paced && !r.described.paced) {
		var err error
		lines, err = hls.AppendDescription(lines, p.describe(r))
		p.noteError(err)
		r.described = described{r.params, paced}
	}
	msn := state.Next - uint64(len(state.Segments))
	for i := range state.Segments {
		lines = hls.AppendEntry(lines, hls.Entry{
			Rendition: r.name, MSN: msn, Bytes: r.sizes[msn], Listed: state.Segments[i],
		})
		delete(r.sizes, msn)
		msn++
	}
	r.noted = state.Next
	return lines
}

// describe says what a rendition is.
func (p *presentation) describe(r *rendition) hls.Description {
	d := hls.Description{
		Rendition: r.name, Target: r.target, Codecs: fmp4.Codecs(r.params),
	}
	if r.rate == opusRate {
		d.Channels = max(r.params.Channels, 1)
		return d
	}
	d.Width, d.Height, d.VideoRange = displayed(r.params), r.params.Height, videoRange(r.params)
	for _, reel := range p.reels {
		if reel.rendition == r {
			d.FrameRate = reel.frameRate()
		}
	}
	return d
}

// noteBegin opens the record.
func (p *presentation) noteBegin(ctx context.Context) {
	if p.cfg.Record != nil {
		p.noteError(p.cfg.Record.Begin(ctx, p.stream, p.id))
	}
}

// noteEnd writes what is left, and closes the record.
func (p *presentation) noteEnd(ctx context.Context) {
	if p.cfg.Record == nil {
		return
	}
	p.note(ctx)
	p.noteError(p.cfg.Record.End(ctx, p.stream, p.id))
}

// noteError logs the first of a presentation's failures.
func (p *presentation) noteError(err error) {
	if err != nil && !p.unnoted {
		p.unnoted = true
		p.log.Error("replay and clips will lack something: the record of segments cannot be written", "error", err)
	}
}
