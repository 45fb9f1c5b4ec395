package hls

import (
	"slices"
	"strconv"
)

// skipTargets is CAN-SKIP-UNTIL in target durations (specs L53).
const skipTargets = 6

// headers are the beginnings that never change.
type headers struct {
	lowLatency []byte
	delta      []byte
	deltaDates []byte
	plain      []byte
}

// newHeaders writes all up to EXT-X-PART-INF. EXT-X-VERSION is the least that
// fits (specs L14): 6 for EXT-X-MAP, 9 where EXT-X-SKIP is in the text, 10 where
// it stands for date ranges, too.
func newHeaders(cfg Config) headers {
	start := func(version string) []byte {
		b := append([]byte(nil), "#EXTM3U\n#EXT-X-VERSION:"...)
		b = append(b, version...)
		b = append(b, "\n#EXT-X-TARGETDURATION:"...)
		b = strconv.AppendInt(b, int64(cfg.Target.Seconds()), 10)
		return append(b, '\n')
	}
	part := grainsUp(cfg.Part)
	control := func(b []byte) []byte {
		b = append(b, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK="...)
		b = appendShort(b, 3*part) // specs L51
		if cfg.Skip {
			b = append(b, ",CAN-SKIP-UNTIL="...)
			b = appendShort(b, grains(skipTargets*cfg.Target))
			b = append(b, ",CAN-SKIP-DATERANGES=YES"...)
		}
		b = append(b, "\n#EXT-X-PART-INF:PART-TARGET="...)
		b = appendShort(b, part)
		return append(b, '\n')
	}
	return headers{
		lowLatency: control(start("6")),
		delta:      control(start("9")),
		deltaDates: control(start("10")),
		plain:      start("6"),
	}
}

func appendMap(b []byte, uri string) []byte {
	b = append(b, `#EXT-X-MAP:URI="`...)
	b = append(b, uri...)
	return append(b, "\"\n"...)
}

// appendCounters appends the two sequence numbers; they precede any segment
// (specs L18, L19). The second is written even while it is 0, so that a version
// with the first discontinuity adds no line to the header (specs L35).
func (m *Media) appendCounters(b []byte, but prior) []byte {
	b = append(b, "#EXT-X-MEDIA-SEQUENCE:"...)
	b = strconv.AppendUint(b, m.first+uint64(but.segments), 10) //nolint:gosec // never negative
	b = append(b, "\n#EXT-X-DISCONTINUITY-SEQUENCE:"...)
	b = strconv.AppendUint(b, m.discontinuity+but.breaks, 10)
	return append(b, '\n')
}

// appendFirstMap appends the EXT-X-MAP of the first listed segment if that does
// not bring its own: the tag outlives the segment that it came with.
func (m *Media) appendFirstMap(b []byte, but prior) []byte {
	switch {
	case len(m.records) > but.segments:
		if r := &m.records[but.segments]; !r.ownMap {
			return appendMap(b, r.init)
		}
	case but.segments > 0 && m.open.started && !m.open.ownMap:
		return appendMap(b, m.init)
	}
	return b
}

// appendEnd appends what follows the last part: hints, reports, ENDLIST.
func (m *Media) appendEnd(b []byte) []byte {
	if m.ended {
		return append(b, "#EXT-X-ENDLIST\n"...)
	}
	if m.hint != "" {
		b = append(b, "#EXT-X-PRELOAD-HINT:TYPE=PART"...)
		b = append(appendQuoted(b, "URI", m.hint), '\n')
	}
	if m.hintMap != "" {
		b = append(b, "#EXT-X-PRELOAD-HINT:TYPE=MAP"...)
		b = append(appendQuoted(b, "URI", m.hintMap), '\n')
	}
	for _, r := range m.reports {
		b = appendReport(b, r.URI, r.MSN, r.Part)
	}
	return b
}

// appendReport appends EXT-X-RENDITION-REPORT (specs L58).
func appendReport(b []byte, uri string, msn uint64, part int) []byte {
	b = append(b, `#EXT-X-RENDITION-REPORT:URI="`...)
	b = append(b, uri...)
	b = append(b, `",LAST-MSN=`...)
	b = strconv.AppendUint(b, msn, 10)
	if part >= 0 {
		b = append(b, ",LAST-PART="...)
		b = strconv.AppendInt(b, int64(part), 10)
	}
	return append(b, '\n')
}

// headRoom is what counters, MAP and SKIP take, for the capacity of a buffer;
// more only costs another allocation.
func (m *Media) headRoom() int { return 288 + len(m.init) }

// room is what hints and reports take.
func (m *Media) room() int {
	n := 64 + len(m.hint) + len(m.hintMap)
	for _, r := range m.reports {
		n += 96 + len(r.URI)
	}
	return n
}

// LowLatency returns the playlist with parts as it is now, and its delta updates
// (specs L67 to L69): one that skips segments, and one that skips old date ranges
// too. Both are nil while there is nothing to skip. All share the memory of date
// ranges, history and tail.
func (m *Media) LowLatency() (full, delta, dates [][]byte) {
	if m.cfg.Part <= 0 {
		return nil, nil, nil
	}
	recent := m.records[m.old:]
	size := m.headRoom() + m.room() + len(m.open.head) + len(m.open.parts)
	for i := range recent {
		size += len(recent[i].head) + len(recent[i].parts) + len(recent[i].tail)
	}
	b := m.appendCounters(make([]byte, 0, size), m.prior)
	counters := b
	b = m.appendFirstMap(b, m.prior)
	first := b[len(counters):]
	skips := m.cfg.Skip && m.skip > m.prior.segments && !m.ended
	var one, two []byte
	if skips {
		b, one, two = m.appendSkips(b)
	}
	start := len(b)
	for i := range recent {
		r := &recent[i]
		b = append(append(append(b, r.head...), r.parts...), r.tail...)
	}
	b = append(append(b, m.open.head...), m.open.parts...)
	b = m.appendEnd(b)

	ranges, tail := m.dateText(m.prior), b[start:]
	full = m.join(top{header: m.header.lowLatency, counters: counters, ranges: ranges, init: first}, m.prior.segments, tail)
	if !skips {
		return full, nil, nil
	}
	delta = m.join(top{header: m.header.delta, counters: counters, skip: one, ranges: ranges}, m.skip, tail)
	if len(ranges) > 0 {
		ranges = ranges[m.oldDates():]
	}
	dates = m.join(top{header: m.header.deltaDates, counters: counters, skip: two, ranges: ranges}, m.skip, tail)
	return full, delta, dates
}

// appendSkips appends EXT-X-SKIP twice: for segments, and for date ranges too,
// where the IDs of those that went of late are required, even if there are none
// (§4.4.5.2).
func (m *Media) appendSkips(b []byte) (all, one, two []byte) {
	skip := func() {
		b = append(b, "#EXT-X-SKIP:SKIPPED-SEGMENTS="...)
		b = strconv.AppendInt(b, int64(m.skip-m.prior.segments), 10)
	}
	start := len(b)
	skip()
	b = append(b, '\n')
	half := len(b)
	skip()
	b = append(b, `,RECENTLY-REMOVED-DATERANGES="`...)
	for i, u := range m.goneDates() {
		if i > 0 {
			b = append(b, '\t')
		}
		b = append(b, u.id...)
	}
	b = append(b, "\"\n"...)
	return b, b[start:half], b[half:]
}

// Plain returns the same playlist for storage that cannot hold a request: only
// complete segments, and no tag of Low-Latency HLS (specs S7). Those of before a
// restart are only here: see [State.Prior].
func (m *Media) Plain() [][]byte {
	recent := m.records[m.old:]
	size := m.headRoom()
	for i := range recent {
		size += len(recent[i].head) + len(recent[i].tail)
	}
	b := m.appendCounters(make([]byte, 0, size), prior{})
	counters := b
	b = m.appendFirstMap(b, prior{})
	first := b[len(counters):]
	start := len(b)
	for i := range recent {
		b = append(append(b, recent[i].head...), recent[i].tail...)
	}
	if m.ended {
		b = append(b, "#EXT-X-ENDLIST\n"...)
	}
	return m.join(top{header: m.header.plain, counters: counters, ranges: m.dateText(prior{}), init: first}, 0, b[start:])
}

// top is what precedes the first segment.
type top struct {
	header   []byte // never changes
	counters []byte
	skip     []byte // EXT-X-SKIP
	ranges   []byte // date ranges
	init     []byte // the first EXT-X-MAP
}

// join puts the history from record on between top and tail.
func (m *Media) join(t top, record int, tail []byte) [][]byte {
	head := [...][]byte{t.header, t.counters, t.skip, t.ranges, t.init}
	pieces := make([][]byte, 0, len(head)+len(m.history.chunks)+1)
	for _, piece := range head {
		if len(piece) > 0 {
			pieces = append(pieces, slices.Clip(piece))
		}
	}
	if record < m.old {
		pieces = m.history.since(pieces, m.records[record].place)
	}
	if len(tail) > 0 {
		pieces = append(pieces, slices.Clip(tail))
	}
	return pieces
}
