package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

const (
	blows       = 10_000           // bad requests in all
	blowsIn     = 30 * time.Second // evenly
	hammers     = 16               // of them at once
	attackers   = 5                // addresses
	hlsViewers  = 40
	whepViewers = 10
)

// blow is one kind of bad request. The zero values are GET without body and token.
type blow struct {
	name, method, path, kind, body string
	headers                        []string // name, value
	raw                            string   // sent on a TCP connection as it is, instead
	udp                            []byte   // sent to the media port, instead
}

// blowKinds returns 50 kinds of bad requests. list is a media playlist, offer a good
// offer that nobody will connect.
func blowKinds(list, offer string) []blow {
	const sdp, fragment, post, patch, del = "application/sdp", "application/trickle-ice-sdpfrag", "POST", "PATCH", "DELETE"
	bearer := []string{"Authorization", "Bearer " + token}
	wrong := []string{"Authorization", "Bearer wrong"}
	dir := strings.TrimSuffix(list, "index.m3u8")
	stun := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, bytes.Repeat([]byte{7}, 12)...)
	return []blow{
		{name: "no token", method: post, path: "/whip/x", kind: sdp, body: offer},
		{name: "wrong token", method: post, path: "/whip/x", kind: sdp, body: offer, headers: wrong},
		{name: "wrong token for the show", method: post, path: "/whip/show", kind: sdp, body: offer, headers: wrong},
		{name: "long token", method: post, path: "/whip/x", kind: sdp, body: offer, headers: []string{"Authorization", "Bearer " + strings.Repeat("a", 8000)}},
		{name: "basic credentials", method: post, path: "/whip/x", kind: sdp, body: offer, headers: []string{"Authorization", "Basic YTpi"}},
		{name: "made-up JWT", method: post, path: "/whip/x", kind: sdp, body: offer, headers: []string{"Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."}},
		{name: "malformed SDP", method: post, path: "/whip/x", kind: sdp, body: "v=0 nonsense", headers: bearer},
		{name: "empty SDP", method: post, path: "/whip/x", kind: sdp, headers: bearer},
		{name: "too long an SDP", method: post, path: "/whip/x", kind: sdp, body: strings.Repeat("a", 100<<10), headers: bearer},
		{name: "binary SDP", method: post, path: "/whip/x", kind: sdp, body: strings.Repeat("\x00\xff", 4000), headers: bearer},
		{name: "half an offer", method: post, path: "/whip/x", kind: sdp, body: offer[:len(offer)/2], headers: bearer},
		{name: "offer without fingerprint", method: post, path: "/whip/x", kind: sdp, body: strings.ReplaceAll(offer, "a=fingerprint", "a=fingerprnt"), headers: bearer},
		{name: "many sections", method: post, path: "/whip/x", kind: sdp, body: offer + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 500), headers: bearer},
		{name: "many candidates", method: post, path: "/whip/x", kind: sdp, body: offer + strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 1000), headers: bearer},
		{name: "wrong type", method: post, path: "/whip/x", kind: "text/plain", body: offer, headers: bearer},
		{name: "no type", method: post, path: "/whip/x", body: offer, headers: bearer},
		{name: "good offer for the show's viewers' door", method: post, path: "/whep/show", kind: sdp, body: offer},
		{name: "never connects", method: post, path: "/whip/never", kind: sdp, body: offer, headers: bearer},
		{name: "whep of nothing", method: post, path: "/whep/nothing", kind: sdp, body: offer},
		{name: "whep of nonsense", method: post, path: "/whep/show", kind: sdp, body: "v=0\r\n"},
		{name: "name with dots", method: post, path: "/whip/..%2f..%2fetc", kind: sdp, body: offer, headers: bearer},
		{name: "name with a newline", method: post, path: "/whip/a%0ab", kind: sdp, body: offer, headers: bearer},
		{name: "long name", method: post, path: "/whip/" + strings.Repeat("a", 3000), kind: sdp, body: offer, headers: bearer},
		{name: "PUT to the endpoint", method: "PUT", path: "/whip/x", kind: sdp, body: offer, headers: bearer},
		{name: "unknown session", method: patch, path: "/session/nobody", kind: fragment, body: "a=ice-ufrag:x", headers: bearer},
		{name: "unknown session, no token", method: patch, path: "/session/pAAAAAAAAAAAAAAAAAAAAAA", kind: fragment, body: "a=ice-ufrag:x"},
		{name: "delete of nothing", method: del, path: "/session/nobody", headers: bearer},
		{name: "delete without token", method: del, path: "/session/wAAAAAAAAAAAAAAAAAAAAAA"},
		{name: "session by GET", path: "/session/%00"},
		{name: "huge MSN", path: list + "?_HLS_msn=18446744073709551616"},
		{name: "far MSN", path: list + "?_HLS_msn=18446744073709551615"},
		{name: "part alone", path: list + "?_HLS_part=1"},
		{name: "negative part", path: list + "?_HLS_msn=1&_HLS_part=-1"},
		{name: "long query", path: list + "?x=" + strings.Repeat("a", 6000)},
		{name: "unknown part", path: dir + "p9999999999.m4s"},
		{name: "file outside", path: "/hls/show/..%2f..%2fpublish_token"},
		{name: "unknown stream", path: "/hls/nothing/index.m3u8"},
		{name: "TRACE", method: "TRACE", path: list},
		{name: "POST to a playlist", method: post, path: list, body: "x"},
		{name: "API without token", path: "/v1/streams"},
		{name: "API with a wrong token", path: "/v1/streams/show", headers: wrong},
		{name: "unknown page", path: "/wp-login.php"},
		{name: "no HTTP at all", raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello"},
		{name: "half a header", raw: "GET /hls/show/index.m3u8 HTTP/1.1\r\nHost: x\r\nX-Slow: "},
		{name: "header of 40 KiB", raw: "GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("a", 40<<10) + "\r\n\r\n"},
		{name: "two lengths", raw: "POST /whip/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
		{name: "broken HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\xff\xff\xff\xff\xff\xff"},
		{name: "half a body", raw: "POST /whip/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 5000\r\n\r\nv=0"},
		{name: "STUN of nobody", udp: stun},
		{name: "noise to the media port", udp: bytes.Repeat([]byte{22, 254, 253, 0x80}, 250)},
	}
}

// strike sends one blow from an address, and returns the status; 0 without answer.
func (b blow) strike(ctx context.Context, c *http.Client, g *gateway, from string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if b.raw != "" || b.udp != nil {
		network, address, what := "tcp", g.address, []byte(b.raw)
		if b.udp != nil {
			network, address, what = "udp", g.media, b.udp
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return 0, err
		}
		_, _ = conn.Write(what)
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = conn.Read(make([]byte, 100)) // no answer is right, too
		return 0, conn.Close()
	}
	method := b.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, g.url(b.path), strings.NewReader(b.body))
	if err != nil {
		return 0, err
	}
	for i := 0; i < len(b.headers); i += 2 {
		r.Header.Set(b.headers[i], b.headers[i+1])
	}
	if b.kind != "" {
		r.Header.Set("Content-Type", b.kind)
	}
	r.Header.Set("X-Forwarded-For", from)
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if (res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable) && res.Header.Get("Retry-After") == "" {
		return res.StatusCode, fmt.Errorf("status %d without Retry-After", res.StatusCode)
	}
	return res.StatusCode, nil
}

// tallied counts what blows were answered with.
type tallied struct {
	mu     sync.Mutex
	status map[string]map[int]int // by kind
	errs   []string
}

func (y *tallied) add(kind string, status int, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.status[kind] == nil {
		y.status[kind] = map[int]int{}
	}
	y.status[kind][status]++
	if err != nil {
		y.errs = append(y.errs, kind+": "+err.Error())
	}
}

// hammer sends all blows, evenly, and returns when the last is answered.
func hammer(ctx context.Context, g *gateway, kinds []blow) *tallied {
	c := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: hammers},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer c.CloseIdleConnections()
	y := &tallied{status: map[string]map[int]int{}}
	begin := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range hammers {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= blows || ctx.Err() != nil {
					return
				}
				time.Sleep(time.Until(begin.Add(time.Duration(n) * blowsIn / blows)))
				b := kinds[n%len(kinds)]
				from := fmt.Sprintf("203.0.113.%d", 1+rand.IntN(attackers)) //nolint:gosec // any will do
				status, err := b.strike(ctx, c, g, from)
				y.add(b.name, status, err)
			}
		})
	}
	all.Wait()
	return y
}

// whepViewer counts what a WHEP viewer gets of the video.
type whepViewer struct {
	packets, missing atomic.Int64
}

func watchWHEP(t *testing.T, g *gateway) *whepViewer {
	t.Helper()
	v := &whepViewer{}
	x := rtctest.New(t, rtctest.Options{}, func(pc *webrtc.PeerConnection) error {
		pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
			last, some := uint16(0), false
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				if track.Kind() != webrtc.RTPCodecTypeVideo {
					continue
				}
				// Repeated packets come out of order and are none that is missing.
				if step := int16(p.SequenceNumber - last); some && step > 1 {
					v.missing.Add(int64(step) - 1)
				} else if some && step < 0 {
					v.missing.Add(-1)
				}
				if !some || int16(p.SequenceNumber-last) > 0 {
					last, some = p.SequenceNumber, true
				}
				v.packets.Add(1)
			}
		})
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return err
			}
		}
		return nil
	})
	x.Connect(t, g.url("/whep/show"))
	return v
}

// TestHammer: X13–X28 10,000 bad requests of 50 kinds in 30 s, from 5 addresses, leave
// a publisher and 50 viewers untouched: each viewer gets each part and each packet,
// none sees an error, the publisher's session is the same one, and memory is flat.
func TestHammer(t *testing.T) {
	g := serveWith(t, plainBinary, "WHIPCAST_HTTP_PROXIES=127.0.0.1", "WHIPCAST_HLS_WINDOW=6s", "WHIPCAST_LIMITS_STREAMS=20")
	publisher := publish(t, g.url("/whip/show"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lists []string
	for _, uri := range newProbe(g).start(ctx, t, "show") {
		lists = append(lists, "/hls/"+uri)
	}
	video := lists[slices.IndexFunc(lists, func(l string) bool { return strings.Contains(l, "video") })]
	offer := rtctest.New(t, rtctest.Options{}, func(pc *webrtc.PeerConnection) error {
		_, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		return err
	}).Offer
	kinds := blowKinds(video, offer)
	if len(kinds) != 50 {
		t.Fatalf("%d kinds", len(kinds))
	}

	hls := newCrowd(g.address, []string{video})
	watching, leave := context.WithCancel(ctx)
	defer leave()
	var watched sync.WaitGroup
	var seen []sample
	watched.Go(func() { seen = hls.watch(watching, hlsViewers, 2*time.Second) })
	var guests []*whepViewer
	for range whepViewers {
		guests = append(guests, watchWHEP(t, g))
	}
	time.Sleep(8 * time.Second) // the window is full, and so are all pools

	before := resident(t, g)
	sent, got := make([]int64, whepViewers), hls.parts.Load()
	for i, v := range guests {
		sent[i] = v.packets.Load()
	}
	y := hammer(ctx, g, kinds)
	after := resident(t, g)
	got = hls.parts.Load() - got
	var packets []int64
	for i, v := range guests {
		packets = append(packets, v.packets.Load()-sent[i])
	}
	leave()
	watched.Wait()

	statuses, total := map[int]int{}, 0
	for kind, by := range y.status {
		for status, n := range by {
			statuses[status] += n
			total += n
			if status >= 500 && status != http.StatusServiceUnavailable || status >= 200 && status < 300 && kind != "never connects" && kind != "many candidates" {
				t.Errorf("%s: status %d, %d times", kind, status, n)
			}
		}
	}
	t.Logf("%d blows answered with %v; memory %d MB before, %d MB after; %d parts fetched by %d viewers, WHEP packets %v",
		total, statuses, before>>20, after>>20, got, hlsViewers, packets)
	if total != blows || len(y.errs) > 0 {
		t.Errorf("%d blows, %d failed, such as %v", total, len(y.errs), y.errs[:min(len(y.errs), 5)])
	}
	if n := hls.failures.Load(); n > 0 {
		t.Errorf("%d HLS viewers ended, one with %v", n, *hls.failure.Load())
	}
	// Who holds its request sees each part, and one has 500 ms of media.
	if each, all := float64(got)/hlsViewers, float64(blowsIn/(500*time.Millisecond)); each < 0.95*all || len(seen) == 0 {
		t.Errorf("an HLS viewer got %.1f parts on average of %.0f", each, all)
	}
	most := slices.Max(packets)
	for i, v := range guests {
		if float64(packets[i]) < 0.98*float64(most) || v.missing.Load() > most/100 {
			t.Errorf("WHEP viewer %d got %d packets of %d, %d are missing", i, packets[i], most, v.missing.Load())
		}
	}
	if pictures := int64(blowsIn.Seconds() * 30); most < pictures {
		t.Errorf("WHEP viewers got %d packets only, of %d pictures", most, pictures)
	}
	select {
	case <-publisher.done:
		t.Errorf("the publisher ended: %v", publisher.err)
	default:
	}
	if s := counter(t, g, "whipcast_packager_discontinuities_total"); s != 0 {
		t.Errorf("%v discontinuities", s)
	}
	if after > before*5/4+64<<20 {
		t.Errorf("memory went from %d to %d MB", before>>20, after>>20)
	}
	if n := metric(t, g, `whipcast_limit_refused_total{limit="post_rate"}`); n == 0 {
		t.Error("no POST was refused for its rate")
	}
}
