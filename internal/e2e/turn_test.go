package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestBrowserRelay: in Chromium that may use nothing but relays our pages publish and
// watch by the gateway's own TURN server, which they are told of: by TLS, TCP and UDP.
func TestBrowserRelay(t *testing.T) {
	certificate, key := selfSigned(t)
	g := &gateway{address: freePort(t), media: freePort(t), admin: freePort(t)}
	g.program = launch(t, []string{
		"WHIPCAST_HTTP_ADDRESS=" + g.address, "WHIPCAST_MEDIA_ADDRESS=" + g.media, "WHIPCAST_ADMIN_ADDRESS=" + g.admin,
		"WHIPCAST_DATA_DIR=" + t.TempDir(), "WHIPCAST_AUTH_PUBLISH_TOKEN=" + token,
		"WHIPCAST_HTTP_TLS_CERTIFICATE=" + certificate, "WHIPCAST_HTTP_TLS_KEY=" + key,
		"WHIPCAST_MEDIA_TURN_ADDRESS=" + freePort(t), "WHIPCAST_MEDIA_TURN_TLS_ADDRESS=" + freePort(t),
	}, plainBinary, "serve") // the browser needs the cores
	until(t, 20*time.Second, "the gateway is ready", func() bool {
		r, err := get(t.Context(), "http://"+g.admin+"/readyz")
		return err == nil && r.status == http.StatusOK
	})
	s := browse(t, "relayed", "https://"+g.address, "camera")
	if got := strings.Join(s.Ways, ", "); got != "relay tls, relay tcp, relay udp" {
		t.Errorf("connected by %s, want relays by tls, tcp and udp", got)
	}
	if got := strings.Join(s.Reports, ", "); got != "relayed by TURN, relayed by TURN, relayed by TURN" {
		t.Errorf("the API says %q", got)
	}
	_, metrics := rtctest.Token("").Do(t, http.MethodGet, "http://"+g.admin+"/metrics", "")
	for _, want := range []string{`whipcast_turn_refused_total{reason="stranger"} 0`, `whipcast_turn_refused_total{reason="credentials"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// selfSigned writes a certificate for this machine.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// TestCoturn: Debian's coturn as the TURN server of somebody else, with the secret of
// both in the configuration (specs X20): who is told the credentials connects by it.
func TestCoturn(t *testing.T) {
	const secret = "e2e-turn-secret"
	address := freePort(t)
	_, port, _ := net.SplitHostPort(address)
	turnserver := launch(t, nil, "turnserver", "-n", "--listening-ip=127.0.0.1", "--listening-port="+port, "--relay-ip=127.0.0.1",
		"--min-port=40000", "--max-port=40100", "--use-auth-secret", "--static-auth-secret="+secret, "--realm=example.org",
		"--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--log-file=stdout", "--simple-log",
		"--pidfile="+t.TempDir()+"/pid", "--userdb="+t.TempDir()+"/db")
	until(t, 10*time.Second, "coturn listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	g := serve(t, `WHIPCAST_MEDIA_TURN_SERVERS=[{url: "turn:`+address+`?transport=udp", secret: `+secret+`}]`)
	// As RFC 9725 §4.6 lets: the servers are asked for before the offer is made.
	res, _ := rtctest.Token(token).Do(t, http.MethodOptions, g.url("/whip/live"), "")
	m := regexp.MustCompile(`^<(turn:[^>]*)>; rel="ice-server"; username="([^"]*)"; credential="([^"]*)"`).FindStringSubmatch(res.Header.Get("Link"))
	if m == nil {
		t.Fatalf("OPTIONS: %s, Link %q", res.Status, res.Header.Values("Link"))
	}
	setting := func(s *webrtc.SettingEngine) { s.SetRelayAcceptanceMinWait(0) }
	x := rtctest.New(t, rtctest.Options{Token: token, Setting: setting}, func(pc *webrtc.PeerConnection) error {
		err := pc.SetConfiguration(webrtc.Configuration{
			ICEServers:         []webrtc.ICEServer{{URLs: []string{m[1]}, Username: m[2], Credential: m[3]}},
			ICETransportPolicy: webrtc.ICETransportPolicyRelay, BundlePolicy: webrtc.BundlePolicyMaxBundle,
		})
		if err != nil {
			return err
		}
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "stream")
		if err == nil {
			_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		}
		return err
	})
	x.Connect(t, g.url("/whip/live"))
	pair, err := x.PC.GetSenders()[0].Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair.Local.Typ != webrtc.ICECandidateTypeRelay {
		t.Fatalf("connected by %v, %v; want a relay", pair, err)
	}
	var list struct {
		Sessions []struct {
			ID string `json:"id"`
		} `json:"sessions"`
	}
	_, body := rtctest.Token(token).Do(t, http.MethodGet, g.url("/v1/sessions"), "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Sessions) != 1 {
		t.Fatalf("sessions: %s, %v", body, err)
	}
	if _, body := rtctest.Token(token).Do(t, http.MethodGet, g.url("/v1/sessions/"+list.Sessions[0].ID), ""); !strings.Contains(body, `"words":"relayed by TURN"`) {
		t.Errorf("the session: %s", body)
	}
	if settings, body := rtctest.Token(token).Do(t, http.MethodGet, g.url("/v1/config"), ""); settings.StatusCode != http.StatusOK || strings.Contains(body, secret) || !strings.Contains(body, m[1]) {
		t.Errorf("/v1/config: %s, the server is missing or its secret is shown: %s", settings.Status, body)
	}
	if strings.Contains(g.out.String(), secret) || strings.Contains(g.out.String(), m[3]) {
		t.Error("the log has the secret or a credential")
	}
	if err := turnserver.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
}
