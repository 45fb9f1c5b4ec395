package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// webdav is nginx with its WebDAV module, as somebody would set it up to take what
// a gateway puts and to serve it to everybody. The first name of a path says by
// which door a file came.
type webdav struct {
	*program

	folder string
	files  string // what it serves
	public string // address that everybody reads from
	basic  string // … that takes files with a user and a password: /basic
	tls    string // … with a client certificate and a header field: /tls
	strict string // … that makes no folders by itself: /strict
}

const webdavRecipe = `
daemon off;
master_process off;
%s
pid DIR/nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path DIR/tmp/body;
	proxy_temp_path DIR/tmp/proxy;
	fastcgi_temp_path DIR/tmp/fastcgi;
	uwsgi_temp_path DIR/tmp/uwsgi;
	scgi_temp_path DIR/tmp/scgi;
	client_max_body_size 64m;
	root FILES;
	types {
		application/vnd.apple.mpegurl m3u8;
		video/mp4 mp4 m4s;
	}
	map $uri $freshness {
		default "public, max-age=60, immutable";
		~\.m3u8$ "public, max-age=1";
	}
	server {
		listen PUBLIC;
		location / {
			add_header Cache-Control $freshness;
			add_header Access-Control-Allow-Origin *;
		}
	}
	server {
		listen BASIC;
		location /basic/ {
			dav_methods PUT DELETE;
			create_full_put_path on;
			auth_basic ingest;
			auth_basic_user_file DIR/users;
		}
	}
	server {
		listen SECURE ssl;
		ssl_certificate DIR/server.pem;
		ssl_certificate_key DIR/server.key;
		ssl_client_certificate DIR/authority.pem;
		ssl_verify_client on;
		location /tls/ {
			if ($http_x_ingest_key != hunter2hunter2) {
				return 403;
			}
			dav_methods PUT DELETE;
			create_full_put_path on;
		}
	}
	server {
		listen STRICT;
		location /strict/ {
			dav_methods PUT DELETE MKCOL;
		}
	}
}
`

// newWebDAV writes the configuration and starts nginx.
func newWebDAV(t *testing.T) *webdav {
	t.Helper()
	d := &webdav{folder: t.TempDir(), files: t.TempDir(), public: freePort(t), basic: freePort(t), tls: freePort(t), strict: freePort(t)}
	for _, name := range []string{filepath.Join(d.folder, "tmp"), filepath.Join(d.files, "strict")} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the folders are this test's
	}
	text := strings.NewReplacer("DIR", d.folder, "FILES", d.files, "PUBLIC", d.public, "BASIC", d.basic, "SECURE", d.tls, "STRICT", d.strict).
		Replace(fmt.Sprintf(webdavRecipe, user))
	d.write(t, "nginx.conf", []byte(text))
	d.write(t, "users", []byte("ingest:{PLAIN}hunter2hunter2\n"))
	authority := newAuthority(t)
	d.write(t, "authority.pem", authority.pem)
	for _, name := range []string{"server", "gateway"} {
		certificate, key := authority.sign(t, name)
		d.write(t, name+".pem", certificate)
		d.write(t, name+".key", key)
	}
	d.start(t)
	return d
}

func (d *webdav) start(t *testing.T) {
	t.Helper()
	d.program = launch(t, nil, "/usr/sbin/nginx", "-c", filepath.Join(d.folder, "nginx.conf"))
	until(t, 10*time.Second, "nginx answers", func() bool {
		c, err := net.Dial("tcp", d.public)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func (d *webdav) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.folder, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ingest authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func (a *authority) sign(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, &pair.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

// TestWebDAV: one stream goes to nginx' WebDAV by three doors: with a user and a
// password, with a client certificate and a header field, and to one that makes no
// folders; a fourth place has a wrong password. An observer reads each by HTTP. nginx
// is away for five seconds. What left the window is deleted, the end is told last.
func TestWebDAV(t *testing.T) {
	d := newWebDAV(t)
	at := func(name string) string { return filepath.Join(d.folder, name) }
	g := serve(t, "WHIPCAST_HLS_WINDOW=10s", "WHIPCAST_HLS_GRACE=5s", "WHIPCAST_HLS_AUDIO=aac", "WHIPCAST_STORAGE=["+strings.Join([]string{
		"{type: httpput, url: 'http://ingest:hunter2hunter2@" + d.basic + "/basic'}",
		"{type: httpput, url: 'https://" + d.tls + "/tls', headers: {X-Ingest-Key: hunter2hunter2}, authority: " + at("authority.pem") +
			", certificate: " + at("gateway.pem") + ", key: " + at("gateway.key") + "}",
		"{type: httpput, url: 'http://" + d.strict + "/strict', make_folders: true}",
		"{type: httpput, url: 'http://ingest:wrong@" + d.basic + "/basic/none'}",
	}, ", ")+"]")
	source := publish(t, g.url("/whip/show"))
	var doors []*observer
	for _, door := range []string{"basic", "tls", "strict"} {
		doors = append(doors, observe(t, "http://"+d.public+"/"+door, "show", 300*time.Millisecond))
	}
	reach := func(msn int64) {
		for _, w := range doors {
			until(t, 60*time.Second, fmt.Sprintf("%s has segment %d", w.base, msn), func() bool { return w.newest.Load() >= msn })
		}
	}
	reach(3)
	if text := detail(t, g); !strings.Contains(text, "httpput-4: refused") || !strings.Contains(text, "correct the credentials") {
		t.Errorf("readyz does not tell of the wrong password:\n%s", text)
	}

	for _, w := range doors {
		w.pause()
	}
	if err := d.stop(t); err != nil {
		t.Errorf("stop nginx: %v", err)
	}
	time.Sleep(5 * time.Second)
	d.start(t)
	for _, w := range doors {
		w.resume()
	}
	reach(8)
	until(t, 60*time.Second, "what left the window is deleted", func() bool {
		for _, door := range []string{"basic", "tls", "strict"} {
			if old, err := filepath.Glob(filepath.Join(d.files, door, "show", "*", "*", "s00000001.m4s")); err != nil || len(old) > 0 {
				return false
			}
		}
		return true
	})
	if err := source.stop(t); err != nil {
		t.Errorf("the publisher ended with %v", err)
	}
	for _, w := range doors {
		until(t, 60*time.Second, w.base+" has the stream's end", w.ended.Load) // specs S16
	}
	if err := g.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, w := range doors {
		w.verdict(30)
		if gaps := w.gaps.Load(); gaps > 1 {
			t.Errorf("%s has %d gaps", w.base, gaps)
		}
	}
	for _, secret := range []string{"hunter2", "wrong@"} {
		if strings.Contains(g.out.String(), secret) {
			t.Errorf("%q is in the log (X4)", secret)
		}
	}
}
