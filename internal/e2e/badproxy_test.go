package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// fault is what a badProxy does to connections.
type fault int

const (
	noFault    fault = iota
	refuse           // nobody listens
	cut              // connections break off in the middle of what is sent
	swallow          // what is sent vanishes, and nothing comes back
	unwilling        // every request gets status 503
	forbid           // every request gets status 403: its credentials are not known
	halfAnswer       // the answer breaks off after its first bytes
	thin             // it takes fewer bytes a second than come
	wild             // any of these now and then, by dice
)

// badProxy is a TCP proxy with faults, between a gateway and a store.
type badProxy struct {
	address string
	target  string
	rate    int // bytes a second when it is thin
	thinner sync.Mutex

	mu       sync.Mutex
	fault    fault
	dice     *rand.Rand
	drawn    map[fault]int
	listener net.Listener
	open     map[net.Conn]bool
	all      sync.WaitGroup
}

// newBadProxy starts a proxy to an address, as yet without a fault.
func newBadProxy(t *testing.T, target string) *badProxy {
	t.Helper()
	p := &badProxy{target: target, rate: 20_000, dice: rand.New(rand.NewPCG(0, 0)), open: map[net.Conn]bool{}, drawn: map[fault]int{}}
	if err := p.listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.address = p.listener.Addr().String()
	t.Cleanup(func() {
		p.close()
		p.all.Wait()
	})
	return p
}

// seed begins a series of dice.
func (p *badProxy) seed(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dice = rand.New(rand.NewPCG(n, n))
}

func (p *badProxy) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() { p.carry(c) })
		}
	})
	return nil
}

// close ends the listener and all connections.
func (p *badProxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
	for c := range p.open {
		_ = c.Close()
	}
}

// set changes what the proxy does.
func (p *badProxy) set(t *testing.T, f fault) {
	t.Helper()
	p.mu.Lock()
	before := p.fault
	p.fault = f
	p.mu.Unlock()
	switch {
	case f == refuse:
		p.close()
	case before == refuse:
		until(t, 10*time.Second, "the proxy has its port again", func() bool { return p.listen(p.address) == nil })
	}
}

// now returns the present fault. A wild one is drawn for each piece.
func (p *badProxy) now(answer bool) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != wild {
		return p.fault
	}
	f := noFault
	switch n := p.dice.IntN(1000); {
	case answer && n < 80:
		f = halfAnswer
	case n < 30:
		f = cut
	case !answer && n < 90:
		f = unwilling
	case n < 100:
		f = swallow
	case n < 250:
		return wild // a delay
	}
	if f != noFault {
		p.drawn[f]++
	}
	return f
}

// summary says how often each fault was drawn, and how often all were.
func (p *badProxy) summary() (words string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, count := range p.drawn {
		n += count
	}
	return fmt.Sprintf("%d cut, %d silent, %d status 503, %d half answers", p.drawn[cut], p.drawn[swallow], p.drawn[unwilling], p.drawn[halfAnswer]), n
}

// delay draws how long a piece is held up.
func (p *badProxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.dice.IntN(300)) * time.Millisecond
}

// carry joins two connections, until one ends or a fault ends both.
func (p *badProxy) carry(in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	p.open[in], p.open[out] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, in)
		delete(p.open, out)
	}()
	var both sync.WaitGroup
	both.Go(func() {
		defer out.Close()
		pass(in, func(b []byte) bool { return p.ask(in, out, b) })
	})
	both.Go(func() {
		defer in.Close()
		pass(out, func(b []byte) bool { return p.answer(in, b) })
	})
	both.Wait()
}

// pass reads until the end, or until to returns false.
func pass(from net.Conn, to func(b []byte) bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !to(buf[:n]) || err != nil {
			return
		}
	}
}

// ask passes a piece of a request on, as the present fault allows.
func (p *badProxy) ask(in, out net.Conn, b []byte) bool {
	says := func(status, body string) bool {
		_, _ = fmt.Fprintf(in, "HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
		return false
	}
	switch p.now(false) {
	case cut:
		_, _ = out.Write(b[:len(b)/2])
		_ = in.(*net.TCPConn).SetLinger(0)
		return false
	case swallow:
		return true
	case unwilling:
		return says("503 Slow Down", "")
	case forbid:
		return says("403 Forbidden", "<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>")
	case thin:
		p.thinner.Lock()
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(p.rate))
		p.thinner.Unlock()
	case wild:
		time.Sleep(p.delay())
	}
	_, err := out.Write(b)
	return err == nil
}

// answer passes a piece of an answer on, as the present fault allows.
func (p *badProxy) answer(in net.Conn, b []byte) bool {
	switch p.now(true) {
	case swallow:
		return true
	case halfAnswer:
		_, _ = in.Write(b[:min(len(b), 20)])
		return false
	case cut:
		_ = in.(*net.TCPConn).SetLinger(0)
		return false
	case wild:
		time.Sleep(p.delay())
	}
	_, err := in.Write(b)
	return err == nil
}
