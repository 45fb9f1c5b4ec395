//go:build linux && (amd64 || arm64)

package rtc

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// segmentSpace is the size of the control message that says how long a packet is.
const segmentSpace = unix.SizeofCmsghdr + 8

// sendTrain sends packets by one call: UDP_SEGMENT, Linux 4.18 and later.
func sendTrain(conn *net.UDPConn, s segments, to netip.AddrPort) error {
	c := s.control
	binary.NativeEndian.PutUint64(c[0:], unix.SizeofCmsghdr+2)
	binary.NativeEndian.PutUint32(c[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(c[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(c[16:], uint16(s.size))
	_, _, err := conn.WriteMsgUDPAddrPort(s.all, c[:], to)
	return err
}

// refusal says what an error of sendTrain means for the trains to come.
func refusal(err error) refusals {
	switch {
	case err == nil:
		return noRefusal
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENOPROTOOPT), errors.Is(err, syscall.EOPNOTSUPP):
		return refusedByDevice // such as one that makes no checksums
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EMSGSIZE):
		return refusedOnPath // packets are longer than its MTU, or the kernel is old
	default:
		return noRefusal
	}
}
