package rtc

import (
	"errors"
	"io"
	"testing"
)

// queue hands out messages as Pion does: one that does not fit stays.
type queue struct{ messages [][]byte }

func (q *queue) ReadDataChannel(into []byte) (int, bool, error) {
	if len(q.messages) == 0 {
		return 0, false, io.EOF
	}
	if len(q.messages[0]) > len(into) {
		return 0, false, io.ErrShortBuffer
	}
	n := copy(into, q.messages[0])
	q.messages = q.messages[1:]
	return n, true, nil
}

// What is too long is left out, and what follows is read.
func TestChannelRead(t *testing.T) {
	c := &Channel{label: "x", reader: &queue{[][]byte{
		make([]byte, MaxMessage), make([]byte, MaxMessage+1), {1}, make([]byte, sctpBuffer), {}, {2},
	}}}
	for i, want := range []struct {
		length int
		err    error
	}{{MaxMessage, nil}, {0, ErrMessage}, {1, nil}, {0, ErrMessage}, {0, nil}, {1, nil}, {0, io.EOF}} {
		message, text, err := c.Read()
		if len(message) != want.length || !errors.Is(err, want.err) || text != (err == nil) {
			t.Errorf("message %d: %d bytes, %v, %v", i, len(message), text, err)
		}
	}
	forever := &Channel{reader: &queue{[][]byte{make([]byte, sctpBuffer+1)}}}
	if _, _, err := forever.Read(); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("a message that cannot be received: %v", err)
	}
}
