//go:build !linux

package rtc

import (
	"fmt"
	"net"
)

// receiveBufferOf asks for a receive buffer of size bytes and returns it.
func receiveBufferOf(conn *net.UDPConn, size int) (int, error) {
	if err := conn.SetReadBuffer(size); err != nil {
		return 0, fmt.Errorf("set receive buffer: %w", err)
	}
	return size, nil
}
