package fmp4

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrID3 says that a frame cannot be written.
var ErrID3 = errors.New("ID3 frame is not valid")

// MaxID3 is the largest tag in bytes. Tags travel with every rendition.
const MaxID3 = 64 << 10

// Sizes of a tag's and of a frame's header, in bytes (ID3v2.4.0 §3.1 and §4).
const id3Header = 10

// ID3Frame is one frame of an ID3v2.4 tag.
type ID3Frame struct {
	id   string
	body []byte
	err  error
}

// ID3Text returns a TXXX frame: a value with a name, both UTF-8. Some players
// count the characters of the description as bytes, so it should be ASCII.
func ID3Text(description, value string) ID3Frame {
	f := ID3Frame{id: "TXXX"}
	for _, s := range []string{description, value} {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			f.err = fmt.Errorf("%w: TXXX %q has text that is no UTF-8 or has a zero in it", ErrID3, description)
			return f
		}
	}
	const encodingUTF8 = 3
	f.body = append(f.body, encodingUTF8)
	f.body = append(append(f.body, description...), 0)
	f.body = append(f.body, value...)
	return f
}

// ID3Private returns a PRIV frame: bytes that an owner understands. The owner is
// a URL or an e-mail address, in ASCII.
func ID3Private(owner string, content []byte) ID3Frame {
	f := ID3Frame{id: "PRIV"}
	for _, c := range []byte(owner) {
		if c < 0x20 || c >= 0x7f {
			f.err = fmt.Errorf("%w: the owner of PRIV, %q, is not ASCII", ErrID3, owner)
			return f
		}
	}
	if owner == "" {
		f.err = fmt.Errorf("%w: PRIV without an owner", ErrID3)
	}
	f.body = append(append(f.body, owner...), 0)
	f.body = append(f.body, content...)
	return f
}

// ID3 returns an ID3v2.4 tag with these frames, one at least.
func ID3(frames ...ID3Frame) ([]byte, error) {
	size := 0
	for _, f := range frames {
		switch {
		case f.err != nil:
			return nil, f.err
		case f.id == "":
			return nil, fmt.Errorf("%w: a frame without a name", ErrID3)
		}
		size += id3Header + len(f.body)
	}
	if size == 0 || id3Header+size > MaxID3 {
		return nil, fmt.Errorf("%w: %d frames with %d bytes, the most is %d", ErrID3, len(frames), size, MaxID3-id3Header)
	}
	b := append(make([]byte, 0, id3Header+size), 'I', 'D', '3', 4, 0, 0)
	b = appendSynchsafe(b, size)
	for _, f := range frames {
		b = append(b, f.id...)
		b = appendSynchsafe(b, len(f.body))
		b = append(b, 0, 0) // flags
		b = append(b, f.body...)
	}
	return b, nil
}

// appendSynchsafe appends n with seven bits a byte (§6.2).
func appendSynchsafe(b []byte, n int) []byte {
	return append(b, byte(n>>21&0x7f), byte(n>>14&0x7f), byte(n>>7&0x7f), byte(n&0x7f))
}
