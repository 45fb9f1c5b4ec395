package rtc

import (
	"bytes"
	"errors"
	"io"
)

const (
	// MaxMessage is the longest message of a data channel in bytes.
	MaxMessage = 16 << 10
	// maxChannels is how many data channels a Session may open.
	maxChannels = 4
)

// ErrMessage says that a message was left out: it is longer than MaxMessage.
var ErrMessage = errors.New("message is longer than 16 KiB")

// messageReader is a data channel of Pion's.
type messageReader interface {
	ReadDataChannel(into []byte) (n int, text bool, err error)
}

// Channel is one data channel that the other side has opened (RFC 8831).
type Channel struct {
	label  string
	reader messageReader
	buffer []byte
}

// Label returns the channel's name as the other side gave it: any bytes.
func (c *Channel) Label() string { return c.label }

// Read waits for the next message, which belongs to the caller; text says that it
// was sent as text. After ErrMessage the next one can be read; other errors are the
// end of the channel or of the Session. It is for one goroutine.
func (c *Channel) Read() (message []byte, text bool, err error) {
	if c.buffer == nil {
		c.buffer = make([]byte, MaxMessage)
	}
	n, text, err := c.reader.ReadDataChannel(c.buffer)
	if errors.Is(err, io.ErrShortBuffer) && len(c.buffer) < sctpBuffer { // it stays there until it is read
		c.buffer = make([]byte, sctpBuffer)
		n, text, err = c.reader.ReadDataChannel(c.buffer)
	}
	switch {
	case err != nil:
		return nil, false, err
	case n > MaxMessage:
		return nil, false, ErrMessage
	}
	return bytes.Clone(c.buffer[:n]), text, nil
}

// Channels delivers the data channels of a Receive Session as they open, four in
// all; further ones are closed. It is never closed.
func (x *Session) Channels() <-chan *Channel { return x.channels }
