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
func (m *Media) appendCounters(b []byte) []byte {
	b = append(b, "#EXT-X-MEDIA-SEQUENCE:"...)
	b = strconv.AppendUint(b, m.first, 10)
	b = append(b, "\n#EXT-X-DISCONTINUITY-SEQUENCE:"...)
	b = strconv.AppendUint(b, m.discontinuity, 10)
	return append(b, '\n')
}

// appendFirstMap appends the EXT-X-MAP of the first listed segment if that does
// not bring its own: the tag outlives the segment that it came with.
func (m *Media) appendFirstMap(b []byte) []byte {
	if len(m.records) == 0 || m.records[0].ownMap {
		return b
	}
	return appendMap(b, m.records[0].init)
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
		b = append(b, `#EXT-X-RENDITION-REPORT:URI="`...)
		b = append(b, r.URI...)
		b = append(b, `",LAST-MSN=`...)
		b = strconv.AppendUint(b, r.MSN, 10)
		if r.Part >= 0 {
			b = append(b, ",LAST-PART="...)
			b = strconv.AppendInt(b, int64(r.Part), 10)
		}
		b = append(b, '\n')
	}
	return b
}

// headRoom is what counters and MAP or SKIP take, for the capacity of a buffer;
// more only costs another allocation.
func (m *Media) headRoom() int { return 192 + len(m.init) }

// room is what hints and reports take.
func (m *Media) room() int {
	n := 64 + len(m.hint) + len(m.hintMap)
	for _, r := range m.reports {
		n += 96 + len(r.URI)
	}
	return n
}

// LowLatency returns the playlist with parts as it is now, and its delta updates
// (specs L67 to L69): one that skips segments, and one that skips date ranges
// too. They are nil while there is nothing to skip; if dates alone is, then delta
// is what it would be. All share the memory of the history and of the tail.
func (m *Media) LowLatency() (full, delta, dates [][]byte) {
	if m.cfg.Part <= 0 {
		return nil, nil, nil
	}
	recent := m.records[m.old:]
	size := m.room() + 2*m.headRoom() + len(m.open.head) + len(m.open.parts)
	for i := range recent {
		size += len(recent[i].head) + len(recent[i].parts) + len(recent[i].tail)
	}
	b := m.appendCounters(make([]byte, 0, size))
	counters := len(b)
	b = m.appendFirstMap(b)
	first := len(b)
	skips := m.cfg.Skip && m.skip > 0 && !m.ended
	if skips {
		b = m.appendSkip(m.appendCounters(b))
	}
	skip := len(b)
	for i := range recent {
		r := &recent[i]
		b = append(append(append(b, r.head...), r.parts...), r.tail...)
	}
	b = append(append(b, m.open.head...), m.open.parts...)
	b = m.appendEnd(b)

	ranges, tail := m.dateText(), b[skip:]
	full = m.join(top{m.header.lowLatency, b[:counters], ranges, b[counters:first]}, 0, tail)
	if !skips {
		return full, nil, nil
	}
	delta = m.join(top{m.header.delta, b[first:skip], ranges, nil}, m.skip, tail)
	if old := m.oldDates(); old > 0 {
		dates = m.join(top{m.header.deltaDates, b[first:skip], ranges[old:], nil}, m.skip, tail)
	}
	return full, delta, dates
}

// appendSkip appends EXT-X-SKIP. The IDs of date ranges that have gone are
// required where date ranges are skipped, and help players in any delta update.
func (m *Media) appendSkip(b []byte) []byte {
	b = append(b, "#EXT-X-SKIP:SKIPPED-SEGMENTS="...)
	b = strconv.AppendInt(b, int64(m.skip), 10)
	b = append(b, `,RECENTLY-REMOVED-DATERANGES="`...)
	for i, u := range m.goneDates() {
		if i > 0 {
			b = append(b, '\t')
		}
		b = append(b, u.id...)
	}
	return append(b, "\"\n"...)
}

// Plain returns the same playlist for storage that cannot hold a request: only
// complete segments, and no tag of Low-Latency HLS (specs S7).
func (m *Media) Plain() [][]byte {
	recent := m.records[m.old:]
	size := m.headRoom() + 32
	for i := range recent {
		size += len(recent[i].head) + len(recent[i].tail)
	}
	b := m.appendCounters(make([]byte, 0, size))
	counters := len(b)
	b = m.appendFirstMap(b)
	first := len(b)
	for i := range recent {
		b = append(append(b, recent[i].head...), recent[i].tail...)
	}
	if m.ended {
		b = append(b, "#EXT-X-ENDLIST\n"...)
	}
	return m.join(top{m.header.plain, b[:counters], m.dateText(), b[counters:first]}, 0, b[first:])
}

// top is what precedes the first segment: the header that never changes, the
// counters, the date ranges, the first EXT-X-MAP.
type top [4][]byte

// join puts the history from record on between top and tail.
func (m *Media) join(t top, record int, tail []byte) [][]byte {
	pieces := make([][]byte, 0, len(t)+len(m.history.chunks)+1)
	for _, piece := range t {
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
