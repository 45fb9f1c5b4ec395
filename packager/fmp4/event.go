package fmp4

import "encoding/binary"

// ID3Scheme says that an event's message is an ID3v2 tag ("Carriage of ID3 Timed
// Metadata in CMAF", AOM).
const ID3Scheme = "https://aomedia.org/emsg/ID3"

// Event is a message for a moment of the presentation: an emsg box of version 1
// (ISO/IEC 23009-1 §5.10.3.3) in front of a moof.
type Event struct {
	// ID tells the event from all others of the presentation. The same event in
	// another rendition, or sent again, has the same ID: players show it once.
	ID uint32
	// Time is the presentation time in units of Timescale, which is that of the
	// track. It should not be before the first sample of the fragment.
	Time      uint64
	Timescale uint32
	Duration  uint32 // in units of Timescale; 0: not known
	Message   []byte // an ID3v2 tag, see ID3
}

// emsgSize is the box without its message: version and flags, timescale, time,
// duration, id, and two strings that end with a zero, the second one empty.
const emsgSize = boxHeader + 4 + 4 + 8 + 4 + 4 + len(ID3Scheme) + 1 + 1

// noDuration is the event_duration that is not known.
const noDuration = 0xffffffff

func eventsSize(events []Event) int {
	n := 0
	for i := range events {
		n += emsgSize + len(events[i].Message)
	}
	return n
}

func appendEvent(b []byte, e *Event) []byte {
	u32 := binary.BigEndian.AppendUint32
	b = appendBox(b, emsgSize+len(e.Message), "emsg")
	b = u32(b, 1<<24) // version 1
	b = u32(b, e.Timescale)
	b = binary.BigEndian.AppendUint64(b, e.Time)
	if e.Duration == 0 {
		b = u32(b, noDuration)
	} else {
		b = u32(b, e.Duration)
	}
	b = u32(b, e.ID)
	b = append(b, ID3Scheme...)
	b = append(b, 0, 0) // the scheme's end, and an empty value
	return append(b, e.Message...)
}
