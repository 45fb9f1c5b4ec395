package rtc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxMessage is the longest message of a data channel in bytes.
	MaxMessage = 16 << 10
	// maxChannels is how many data channels a Session may open.
	maxChannels = 4
	// maxWaiting is how many bytes may wait in a data channel for a slow receiver.
	maxWaiting = 128 << 10
)

var (
	// ErrMessage says that a message was left out: it is longer than MaxMessage.
	ErrMessage = errors.New("message is longer than 16 KiB")
	// ErrFull says that a message was dropped: too much waits for the other side already.
	ErrFull = errors.New("the other side takes messages too slowly")
)

// messageReader is a data channel of Pion's.
type messageReader interface {
	ReadDataChannel(into []byte) (n int, text bool, err error)
}

// messageWriter is the same.
type messageWriter interface {
	WriteDataChannel(message []byte, text bool) (int, error)
	BufferedAmount() uint64
	Close() error
}

// Channel is one data channel that the other side has opened (RFC 8831).
type Channel struct {
	label  string
	id     uint16
	reader messageReader
	writer messageWriter
	buffer []byte
}

// Label returns the channel's name as the other side gave it: any bytes.
func (c *Channel) Label() string { return c.label }

// ID returns the number of its SCTP stream, which rises with each channel that the other
// side makes.
func (c *Channel) ID() uint16 { return c.id }

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

// Send sends a message, as text or as bytes. It waits for nothing: what the other
// side is too slow for is dropped with ErrFull, what is too long with ErrMessage.
// Any other error is the end of the channel. One goroutine at a time may call it.
func (c *Channel) Send(message []byte, text bool) error {
	switch {
	case len(message) > MaxMessage:
		return ErrMessage
	case c.writer.BufferedAmount()+uint64(len(message)) > maxWaiting:
		return ErrFull
	}
	if _, err := c.writer.WriteDataChannel(message, text); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Close ends the channel. A Read that waits returns.
func (c *Channel) Close() error { return c.writer.Close() }

// Channels delivers the data channels of a Session as they open, four in all;
// further ones are closed. It is never closed.
func (x *Session) Channels() <-chan *Channel { return x.channels }
