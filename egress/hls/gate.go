package hls

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// gate counts held requests and keeps them bounded (specs L73, X27). It also
// remembers how to release each of them.
type gate struct {
	most, mostStream, mostClient int // read-only

	mu      sync.Mutex
	closed  bool
	held    map[*hold]struct{}
	streams map[string]int
	clients map[netip.Addr]int
}

// hold is one held request.
type hold struct {
	stream string
	client netip.Addr
	cancel context.CancelFunc
}

func newGate(cfg Config) *gate {
	return &gate{
		most: cfg.MaxHeld, mostStream: cfg.MaxHeldPerStream, mostClient: cfg.MaxHeldPerClient,
		held:    make(map[*hold]struct{}),
		streams: make(map[string]int),
		clients: make(map[netip.Addr]int),
	}
}

// enter lets a request wait, or says why not. A zero client is not counted by
// address.
func (g *gate) enter(h *hold) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return closing()
	case len(g.held) >= g.most:
		return busy("This server holds as many playlist requests as it may.")
	case g.streams[h.stream] >= g.mostStream:
		return busy("This stream has as many held playlist requests as it may.")
	case h.client.IsValid() && g.clients[h.client] >= g.mostClient:
		return problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many held requests", RetryAfter: time.Second,
			Detail: "Your address has as many held playlist requests as it may. Close some players, or try again later.",
		}
	}
	g.held[h] = struct{}{}
	g.streams[h.stream]++
	if h.client.IsValid() {
		g.clients[h.client]++
	}
	return nil
}

// leave takes back an enter that succeeded.
func (g *gate) leave(h *hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, h)
	if g.streams[h.stream]--; g.streams[h.stream] == 0 {
		delete(g.streams, h.stream)
	}
	if h.client.IsValid() {
		if g.clients[h.client]--; g.clients[h.client] == 0 {
			delete(g.clients, h.client)
		}
	}
}

// close lets nobody wait any more and releases those who do.
func (g *gate) close() {
	for _, cancel := range g.shut() {
		cancel()
	}
}

func (g *gate) shut() []context.CancelFunc {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	cancels := make([]context.CancelFunc, 0, len(g.held))
	for h := range g.held {
		cancels = append(cancels, h.cancel)
	}
	return cancels
}

// state returns how many requests are held, and whether the gate is closed.
func (g *gate) state() (int, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held), g.closed
}

// clientAddress is whom a request counts for: the address, or for IPv6 the /64
// network, since a host has all of that. A proxy on this machine stands for
// many viewers and is not counted.
func clientAddress(remote string) netip.Addr {
	endpoint, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	address := endpoint.Addr().Unmap().WithZone("")
	if address.IsLoopback() {
		return netip.Addr{}
	}
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return address
}

func busy(detail string) problem.Problem {
	return problem.Problem{
		Status: http.StatusServiceUnavailable, Title: "Too many held requests", RetryAfter: time.Second,
		Detail: detail + " Try again, or read the playlist without _HLS_msn.",
	}
}

func closing() problem.Problem {
	return problem.Problem{
		Status: http.StatusServiceUnavailable, Title: "Server is shutting down", RetryAfter: time.Second,
		Detail: "The server ends held requests. Try again in a moment.",
	}
}
