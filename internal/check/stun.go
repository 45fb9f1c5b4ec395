package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/stun/v4"

	"github.com/whipcast/whipcast/internal/fault"
)

// stunPort is the one of STUN (RFC 8489 §18.6).
const stunPort = "3478"

// Retransmissions of a request over UDP (RFC 8489 §6.2.1), fewer than there: a
// person waits.
const (
	stunFirst = 500 * time.Millisecond
	stunTries = 3
)

// Mapped is what one STUN server said.
type Mapped struct {
	Server  string         // as it was given
	Address netip.AddrPort // that it sees; not valid: Err says why
	Err     error
}

// AskSTUN asks each server by which address it sees a socket (RFC 8489), one
// after the other: HOST or HOST:PORT. Nobody else may read from the socket.
func AskSTUN(ctx context.Context, conn *net.UDPConn, servers []string) []Mapped {
	var all []Mapped
	for _, server := range servers {
		address, err := askSTUN(ctx, conn, server)
		all = append(all, Mapped{server, address, err})
	}
	return all
}

func askSTUN(ctx context.Context, conn *net.UDPConn, server string) (netip.AddrPort, error) {
	to, err := resolve(ctx, conn, server)
	if err != nil {
		return netip.AddrPort{}, err
	}
	request, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("make STUN request: %w", err)
	}
	wait := stunFirst
	for range stunTries {
		if _, err := conn.WriteToUDPAddrPort(request.Raw, to); err != nil {
			return netip.AddrPort{}, fmt.Errorf("ask STUN server: %w", err)
		}
		got, err := await(ctx, conn, request.TransactionID, wait)
		if err == nil || ctx.Err() != nil || !timeout(err) {
			return got, err
		}
		wait *= 2
	}
	return netip.AddrPort{}, fmt.Errorf("ask %v: %w", to, errSilent)
}

var errSilent = errors.New("no answer")

func timeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// resolve returns the server's address, of a family that the socket has.
func resolve(ctx context.Context, conn *net.UDPConn, server string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = strings.Trim(server, "[]"), stunPort
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || number == 0 {
		return netip.AddrPort{}, errors.New("not HOST:PORT")
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve STUN server: %w", err)
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	slices.SortStableFunc(found, func(a, b netip.Addr) int { // IPv4 first: it is where NATs are
		return len(a.Unmap().AsSlice()) - len(b.Unmap().AsSlice())
	})
	for _, a := range found {
		a = a.Unmap()
		if local.IsUnspecified() && !local.Is4() || a.Is4() == local.Unmap().Is4() {
			return netip.AddrPortFrom(a, uint16(number)), nil
		}
	}
	return netip.AddrPort{}, errors.New("it has no address of the family that media.address is bound to")
}

// await reads until the answer to a request comes, or time is up.
func await(ctx context.Context, conn *net.UDPConn, id [stun.TransactionIDSize]byte, wait time.Duration) (netip.AddrPort, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("wait for STUN answer: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("wait for STUN answer: %w", err)
		}
		got, mine, err := parseSTUN(buf[:n], id)
		if mine {
			return got, err
		}
	}
}

// parseSTUN reads the mapped address of an answer; mine says whether it is the
// answer to the request of that id.
func parseSTUN(packet []byte, id [stun.TransactionIDSize]byte) (at netip.AddrPort, mine bool, err error) {
	var m stun.Message
	readable := stun.Decode(packet, &m) == nil
	if !readable || m.TransactionID != id {
		return netip.AddrPort{}, false, nil
	}
	if m.Type != stun.BindingSuccess {
		return netip.AddrPort{}, true, errors.New("the server refuses to say it")
	}
	var (
		xor   stun.XORMappedAddress
		plain stun.MappedAddress
		ip    net.IP
		port  int
	)
	if xor.GetFrom(&m) == nil {
		ip, port = xor.IP, xor.Port
	} else if plain.GetFrom(&m) == nil { // RFC 3489
		ip, port = plain.IP, plain.Port
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok || port <= 0 || port > 65535 {
		return netip.AddrPort{}, true, errors.New("the server's answer has no address")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), true, nil
}

// Socket is what the asked socket is to the gateway.
type Socket struct {
	Port       uint16       // local one
	Media      bool         // it is that of media.address
	Advertised []netip.Addr // what browsers are told
	PublicIPs  bool         // Advertised is media.public_ips
}

// Reach says what the answers of STUN servers mean for publishers and viewers.
func Reach(name string, s Socket, answers []Mapped) []Finding {
	if len(answers) == 0 {
		return []Finding{{name, Skipped, "no STUN server is given", "--stun HOST:PORT asks one by which address it sees this machine"}}
	}
	var found []Finding
	var seen []Mapped
	for _, m := range answers {
		if m.Err != nil {
			found = append(found, silent(name, m))
			continue
		}
		seen = append(seen, m)
		found = append(found, s.mapped(name, m))
	}
	for i, m := range seen {
		for _, before := range seen[:i] {
			if m.Address.Addr() == before.Address.Addr() && m.Address.Port() != before.Address.Port() {
				return append(found, Finding{
					name, Warning, fmt.Sprintf("%s sees port %d and %s sees %d: a symmetric NAT, which gives each remote side another port", before.Server, before.Address.Port(), m.Server, m.Address.Port()),
					fmt.Sprintf("forward UDP and TCP port %d on the router to this machine", s.Port),
				})
			}
		}
	}
	return found
}

func silent(name string, m Mapped) Finding {
	f, step := fault.Network(m.Err)
	switch {
	case errors.Is(m.Err, errSilent):
		f = fault.Fault{Cause: "no answer: UDP does not get out, or does not come back", Remedy: "open UDP in the firewall, or ask another server"}
	case step == fault.Unknown:
		f = fault.Fault{Cause: m.Err.Error(), Remedy: "ask another server: --stun HOST:PORT"}
	}
	return Finding{name, Failed, m.Server + ": " + f.Cause, f.Remedy}
}

func (s Socket) mapped(name string, m Mapped) Finding {
	at := m.Address.Addr()
	f := Finding{Name: name, Cause: fmt.Sprintf("%s sees this machine as %v", m.Server, at)}
	known := slices.Contains(s.Advertised, at)
	moved := s.Media && m.Address.Port() != s.Port
	switch {
	case !known && s.PublicIPs:
		f.State, f.Cause = Warning, f.Cause+", which is not in media.public_ips "+list(s.Advertised)
		f.Remedy = fmt.Sprintf("set media.public_ips: [%v], if publishers and viewers come by that address", at)
	case !known:
		f.State, f.Cause = Warning, f.Cause+", behind a NAT: browsers elsewhere are told "+list(s.Advertised)
		f.Remedy = fmt.Sprintf("set media.public_ips: [%v] and forward UDP and TCP port %d to this machine", at, s.Port)
	case moved:
		f.State, f.Cause = Warning, fmt.Sprintf("%s, and port %d as %d: a NAT changes it", f.Cause, s.Port, m.Address.Port())
		f.Remedy = fmt.Sprintf("forward UDP and TCP port %d to this machine", s.Port)
	case s.PublicIPs:
		f.Cause += ", as media.public_ips says"
	default:
		f.Cause += ", its own address"
	}
	return f
}

func list(all []netip.Addr) string {
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
