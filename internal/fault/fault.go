// Package fault says in plain words why a server, a file or a folder cannot be
// used: what went wrong, and what to do about it. It is pure.
//
// Sinks use it for what they log, and checks for what they print, so that both
// say the same. Invariant: no word of what it returns is from the other side,
// but for names in certificates.
package fault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Fault is one thing that went wrong. Both texts are one line.
type Fault struct {
	Cause  string
	Remedy string // "" where nobody knows one
}

// Step says how far an exchange came.
type Step uint8

// The steps of an exchange, in their order.
const (
	Unknown Step = iota // not one of these
	Name                // the host's name is not resolved
	Connect             // no connection
	Secure              // no TLS
	Answer              // no answer of HTTP
)

// Network returns what an error of net, crypto/tls or net/http means. The step
// is Unknown if it is none of those: then the Fault is empty.
func Network(err error) (Fault, Step) {
	for _, look := range []func(error) (Fault, Step){name, secure, connect, answer} {
		if f, step := look(err); step != Unknown {
			return f, step
		}
	}
	return Fault{}, Unknown
}

func name(err error) (Fault, Step) {
	e, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return Fault{}, Unknown
	case e.IsNotFound:
		return Fault{fmt.Sprintf("the name %s does not exist", e.Name), "correct the host's name, or this machine's DNS"}, Name
	}
	return Fault{fmt.Sprintf("the name %s cannot be resolved now", e.Name), "look at this machine's DNS and network"}, Name
}

// secure is about TLS: certificates first, then what is no TLS at all.
func secure(err error) (Fault, Step) {
	if f, ok := certificate(err); ok {
		return f, Secure
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || says(err, "server gave HTTP response to HTTPS client") {
		return Fault{"the server speaks plain HTTP there, no TLS", "write http:// rather than https://, or correct the port"}, Secure
	}
	alert, ok := errors.AsType[tls.AlertError](err)
	switch {
	case says(err, "certificate required"), says(err, "bad certificate"):
		return Fault{"the server wants a certificate of this side, or another one", "give the certificate that the server knows"}, Secure
	case ok:
		return Fault{"the server ends TLS: " + strings.TrimPrefix(alert.Error(), "tls: "), "look at the server's TLS settings"}, Secure
	case says(err, "TLS handshake timeout"):
		return Fault{"no TLS handshake in time", "correct the port, or look at the server"}, Secure
	}
	return Fault{}, Unknown
}

func certificate(err error) (Fault, bool) {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return Fault{
			fmt.Sprintf("the server's certificate is for %s, not for %s", names(e.Certificate), e.Host),
			"use a name that the certificate has, or correct the certificate",
		}, true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return Fault{
			"the server's certificate is signed by an authority that this machine does not know",
			"add the authority's certificate to those of this machine, or correct the server's chain",
		}, true
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Cert != nil && e.Reason == x509.Expired {
		return Fault{
			fmt.Sprintf("the server's certificate is good from %s to %s", day(e.Cert.NotBefore), day(e.Cert.NotAfter)),
			"renew the certificate, or set this machine's clock",
		}, true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Fault{"the server's certificate is not good", "correct the server's certificate"}, true
	}
	return Fault{}, false
}

// names are the names that a certificate is for, a few of them.
func names(c *x509.Certificate) string {
	const most = 3
	var all []string
	if c != nil {
		all = append(all, c.DNSNames...)
		for _, ip := range c.IPAddresses {
			all = append(all, ip.String())
		}
	}
	switch {
	case len(all) == 0:
		return "no name"
	case len(all) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func connect(err error) (Fault, Step) {
	at := "the server"
	e, ok := errors.AsType[*net.OpError](err)
	if ok && e.Addr != nil {
		at = e.Addr.String()
	}
	dial := ok && e.Op == "dial"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Fault{"connection refused: nothing listens at " + at, "start the server, or correct host and port"}, Connect
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return Fault{"no way to " + at, "look at this machine's network and routes"}, Connect
	case dial && timeout(err):
		return Fault{"no connection to " + at + " in time", "open the firewall on the way, or correct host and port"}, Connect
	case dial:
		return Fault{"no connection to " + at, "look at this machine's network"}, Connect
	}
	return Fault{}, Unknown
}

func answer(err error) (Fault, Step) {
	switch {
	case says(err, "malformed HTTP"):
		return Fault{"what answers is no HTTP server", "correct the port, or write https:// rather than http://"}, Answer
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		says(err, "server closed idle connection"):
		return Fault{"the server closed the connection without a whole answer", "look at the server, and whether it wants https"}, Answer
	case timeout(err):
		return Fault{"no answer in time", "look at the server, and at the way to it"}, Answer
	}
	return Fault{}, Unknown
}

// says looks for a text in an error that net/http or crypto/tls has no type for.
func says(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

func timeout(err error) bool {
	if e, ok := errors.AsType[*url.Error](err); ok && e.Timeout() {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// File returns what an error of a file or a folder means, and whether it is one.
func File(err error) (Fault, bool) {
	path := "it"
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		path = e.Path
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return Fault{"the disk is full", "make room, or name a folder on another disk"}, true
	case errors.Is(err, syscall.EDQUOT):
		return Fault{"this user's share of the disk is used up", "make room, or raise the quota"}, true
	case errors.Is(err, syscall.EROFS):
		return Fault{"the file system is read-only", "mount it for writing, or name another folder"}, true
	case errors.Is(err, fs.ErrPermission):
		return Fault{"this user may not use " + path, "give the folder to the user that runs the gateway, or name another"}, true
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return Fault{path + " is in the way: a file where a folder must be", "name another folder, or move the file"}, true
	case errors.Is(err, fs.ErrNotExist):
		return Fault{path + " is not there", "make it, or correct its name"}, true
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE):
		return Fault{"the disk does not work: " + syscallText(err), "look at the disk, or at the server that it is on"}, true
	}
	return Fault{}, false
}

func syscallText(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	return "input/output error"
}

// Span writes how long something is, in short: 20m, 1h30m, 2.5s.
func Span(d time.Duration) string {
	switch {
	case d >= 5*time.Minute:
		d = d.Round(time.Minute)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
