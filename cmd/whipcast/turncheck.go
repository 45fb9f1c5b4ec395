package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/check"
	"github.com/whipcast/whipcast/internal/turn"
)

// Names of findings about TURN.
const (
	turnAddress = "media.turn.address"
	turnTLS     = "media.turn.tls"
	turnServers = "media.turn.servers"
)

// turnChecks are those of TURN: the ports of our own server, and the servers of others.
func (s subject) turnChecks() []check.Check {
	var all []check.Check
	if address := s.config.Media.TURN.Address; address != "" {
		all = append(all, check.Check{Name: turnAddress, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
			return []check.Finding{s.turnPort(ctx, address)}
		}})
	}
	if address := s.config.Media.TURN.TLSAddress; address != "" {
		all = append(all, check.Check{Name: turnTLS, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
			f := s.port(ctx, "media.turn.tls_address", address)
			f.Name = turnTLS
			return append([]check.Finding{f}, s.turnName(address)...) //nolint:contextcheck // nobody is asked
		}})
	}
	for _, server := range s.config.Media.TURN.Servers {
		all = append(all, tryServer(server))
	}
	return all
}

// turnPort looks whether UDP and TCP can be had.
func (s subject) turnPort(ctx context.Context, address string) check.Finding {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		_ = listener.Close() // nobody has used it
		var socket *net.UDPConn
		if socket, err = listenUDP(ctx, address); err == nil {
			_ = socket.Close() // nobody has used it
		}
	}
	if err != nil {
		return s.taken(ctx, turnAddress, address, err)
	}
	return check.Finding{Name: turnAddress, Cause: address + " is free, UDP and TCP"}
}

// turnName looks whether the certificate is for the name that browsers are told.
func (s subject) turnName(address string) []check.Finding {
	host, _, err := net.SplitHostPort(address)
	if _, other := netip.ParseAddr(host); err != nil || host == "" || other == nil {
		return nil // they are told the name that they came by
	}
	f := check.Finding{Name: turnTLS, State: check.Warning, Remedy: "get a certificate that has this name, too"}
	if acme := s.config.HTTP.TLS.ACMEHost; acme != "" {
		if strings.EqualFold(acme, host) {
			return nil
		}
		f.Cause = fmt.Sprintf("browsers are told %s, and the certificate by ACME is for %s only", host, acme)
		return []check.Finding{f}
	}
	source, err := openCertificate(s.config, nil)
	if err != nil || source == nil {
		return nil // http.tls says so
	}
	pair, _ := source.Current() // of files it is there
	if pair.Leaf == nil || pair.Leaf.VerifyHostname(host) == nil {
		return nil
	}
	f.Cause = fmt.Sprintf("browsers are told %s, and the certificate of http.tls is not for that name", host)
	return []check.Finding{f}
}

// tryServer tries a server with the credentials that clients get.
func tryServer(server configs.ICEServer) check.Check {
	return check.Check{Name: turnServers, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
		target := turn.Target{URL: server.URL, Username: server.Username, Credential: server.Credential}
		if server.Secret != "" {
			target.Username, target.Credential = turn.Credentials(server.Secret, "check", time.Now().Add(time.Hour))
		}
		err := turn.Ask(ctx, target)
		asked := check.Asked{
			URL: server.URL, Relays: strings.HasPrefix(server.URL, "turn"), Signed: server.Secret != "", Silent: errors.Is(err, turn.ErrSilent), Err: err,
		}
		if refusal, ok := errors.AsType[turn.Refusal](err); ok {
			asked.Code = refusal.Code
		}
		return []check.Finding{check.ICEServer(turnServers, asked)}
	}}
}
