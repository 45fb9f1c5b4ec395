package rtc

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// receiveBufferOf asks for a receive buffer of size bytes and returns what the
// kernel gave: beyond net.core.rmem_max only to those with CAP_NET_ADMIN.
func receiveBufferOf(conn *net.UDPConn, size int) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reach socket: %w", err)
	}
	got := 0
	var failed error
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
		if failed == nil {
			got, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fmt.Errorf("set SO_RCVBUF: %w", err)
	}
	return got / 2, nil // Linux doubles it for its own bookkeeping
}
