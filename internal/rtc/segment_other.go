//go:build !linux || !(amd64 || arm64)

package rtc

import (
	"errors"
	"net"
	"net/netip"
)

const segmentSpace = 1

var errTrains = errors.New("this system sends packets one by one")

// sendTrain is for Linux.
func sendTrain(*net.UDPConn, segments, netip.AddrPort) error { return errTrains }

// refusal says what an error of sendTrain means for the trains to come.
func refusal(err error) refusals {
	if errors.Is(err, errTrains) {
		return refusedByDevice
	}
	return noRefusal
}
