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

// pipe is a data channel of Pion's whose other side takes nothing.
type pipe struct {
	waiting uint64
	closed  bool
}

func (p *pipe) WriteDataChannel(b []byte, _ bool) (int, error) {
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	p.waiting += uint64(len(b))
	return len(b), nil
}

func (p *pipe) BufferedAmount() uint64 { return p.waiting }

func (p *pipe) Close() error {
	p.closed = true
	return nil
}

// What waits for a slow receiver is bounded.
func TestChannelSend(t *testing.T) {
	p := &pipe{}
	c := &Channel{label: "x", writer: p}
	sent := 0
	for c.Send(make([]byte, 1000), true) == nil {
		if sent++; sent > 1000 {
			t.Fatal("it is not bounded")
		}
	}
	if err := c.Send([]byte{1}, true); p.waiting > maxWaiting || sent < 100 || err != nil {
		t.Errorf("%d messages, %d bytes wait; a small one: %v", sent, p.waiting, err)
	}
	if err := c.Send(make([]byte, 2000), true); !errors.Is(err, ErrFull) {
		t.Errorf("a full channel: %v", err)
	}
	if err := c.Send(make([]byte, MaxMessage+1), true); !errors.Is(err, ErrMessage) {
		t.Errorf("a long message: %v", err)
	}
	p.waiting = 0
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Send([]byte{1}, false); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a closed channel: %v", err)
	}
}
