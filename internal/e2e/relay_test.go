package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// weather is what a relay does to the datagrams from the publisher.
type weather struct {
	loss    float64       // share of datagrams that vanish
	reorder float64       // share that is held back
	delay   time.Duration // by so much
}

var publisherCandidate = regexp.MustCompile(`(?m)^a=candidate:.*\r?\n`)

// relay is a bad network between a publisher and the gateway: an HTTP proxy
// that puts the relay's port into the answer's candidates, and a UDP forwarder.
type relay struct {
	url      string // of the WHIP endpoints behind the proxy
	dropped  atomic.Int64
	passed   atomic.Int64
	shuffled atomic.Int64
}

func newRelay(t *testing.T, g *gateway, w weather) *relay {
	t.Helper()
	r := &relay{}
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = front.Close()
		wg.Wait()
	})
	wg.Go(func() { r.forward(front, g.media, w) })

	r.url = detour(t, g, front.LocalAddr(), http.NotFoundHandler())
	return r
}

// detour begins an HTTP proxy of a gateway by which media can go through the
// relay at front alone, and returns its URL. What is asked for below /link is
// answered by link.
func detour(t *testing.T, g *gateway, front net.Addr, link http.Handler) string {
	t.Helper()
	target, err := url.Parse("http://" + g.address)
	if err != nil {
		t.Fatal(err)
	}
	_, from, _ := net.SplitHostPort(g.media)
	to := strconv.Itoa(front.(*net.UDPAddr).Port)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(res *http.Response) error {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		body = []byte(strings.ReplaceAll(string(body), " 127.0.0.1 "+from+" typ", " 127.0.0.1 "+to+" typ"))
		res.Body = io.NopCloser(bytes.NewReader(body))
		res.ContentLength = int64(len(body))
		res.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	routes := http.NewServeMux()
	routes.Handle("/link", link)
	routes.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		// The gateway must not know where the other end is: its own checks would open a
		// way past the relay.
		body, _ := io.ReadAll(req.Body) // what is missing is refused
		body = publisherCandidate.ReplaceAll(body, nil)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		proxy.ServeHTTP(w, req)
	})
	server := httptest.NewServer(routes)
	t.Cleanup(server.Close)
	return server.URL
}

// forward passes datagrams between one or more publishers and the gateway.
func (r *relay) forward(front net.PacketConn, gateway string, w weather) {
	backs := make(map[string]net.Conn) // by publisher's address
	var wg sync.WaitGroup
	defer func() {
		for _, back := range backs {
			_ = back.Close()
		}
		wg.Wait()
	}()
	random := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 2048)
	for {
		n, from, err := front.ReadFrom(buf)
		if err != nil {
			return
		}
		back, ok := backs[from.String()]
		if !ok {
			if back, err = net.Dial("udp", gateway); err != nil {
				return
			}
			backs[from.String()] = back
			wg.Go(func() { answer(front, from, back) })
		}
		media := n > 1 && buf[0]&0xc0 == 0x80 // RTP or RTCP; STUN and DTLS pass
		switch {
		case media && random.Float64() < w.loss:
			r.dropped.Add(1)
		case media && random.Float64() < w.reorder:
			r.shuffled.Add(1)
			late := bytes.Clone(buf[:n])
			wg.Go(func() {
				time.Sleep(w.delay)
				_, _ = back.Write(late)
			})
		default:
			r.passed.Add(1)
			_, _ = back.Write(buf[:n])
		}
	}
}

func answer(front net.PacketConn, to net.Addr, back net.Conn) {
	buf := make([]byte, 2048)
	for {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		if _, err := front.WriteTo(buf[:n], to); err != nil {
			return
		}
	}
}
