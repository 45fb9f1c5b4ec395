package configs

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

func compare(t *testing.T, got, want Config) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	got, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, Default())
}

// TestReference holds whipcast.yaml to Default, key by key, each with a comment.
func TestReference(t *testing.T) {
	got, err := Load("whipcast.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, Default())

	file, err := os.ReadFile("whipcast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Load(file, &root); err != nil {
		t.Fatal(err)
	}
	var names []string
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			field, value := n.Content[i], n.Content[i+1]
			name := prefix + field.Value
			if value.Kind == yaml.MappingNode && !slices.Contains(Keys(), name) {
				walk(name+".", value)
				continue
			}
			names = append(names, name)
			if strings.TrimSpace(strings.Trim(field.HeadComment, "# ")) == "" {
				t.Errorf("whipcast.yaml:%d: key %s has no comment above it", field.Line, name)
			}
		}
	}
	walk("", root.Content[0])
	if diff := cmp.Diff(Keys(), names); diff != "" {
		t.Errorf("keys of whipcast.yaml (-want +got):\n%s", diff)
	}
	if len(names) >= 45 {
		t.Errorf("%d keys, want fewer than 45", len(names))
	}
}

func TestOverrides(t *testing.T) {
	path := write(t, "data_dir: /file\nhttp: {address: ':1000'}\nlog:\nmedia:\n  public_ips: [203.0.113.7, '2001:db8::7']\nhls:\n  segment: 4s\n  part: 1s\n")
	got, err := Load(path,
		[]string{"HOME=/root", "WHIPCAST_HTTP_ADDRESS=:2000", "WHIPCAST_LOG_LEVEL=debug", "WHIPCAST_SERVICE_HOST=10.0.0.1", "WHIPCAST_PORT_8080_TCP=tcp://10.0.0.1:8080"},
		Setting{Flag: "--log.level", Key: "log.level", Value: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.DataDir, want.HTTP.Address, want.Log.Level = "/file", ":2000", "warn"
	want.HLS.Segment, want.HLS.Part = 4*time.Second, time.Second
	want.Media.PublicIPs = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}
	compare(t, got, want)
}

// A DVR window goes from half a minute to hours (specs L39).
func TestWindowsAndSizes(t *testing.T) {
	for text, want := range map[string]HLS{
		"window: 30s, memory: 16MiB":   {Window: 30 * time.Second, Memory: 16 << 20},
		"window: 6h, memory: 2GiB":     {Window: 6 * time.Hour, Memory: 2 << 30},
		"window: 90m, memory: 1 TiB":   {Window: 90 * time.Minute, Memory: 1 << 40},
		"window: 1m, memory: 20000KiB": {Window: time.Minute, Memory: 20_000 << 10},
		"window: 1m, memory: 33554433": {Window: time.Minute, Memory: 32<<20 + 1},
	} {
		got, err := Load(write(t, "hls: {"+text+"}\n"), nil)
		if err != nil || got.HLS.Window != want.Window || got.HLS.Memory != want.Memory {
			t.Errorf("%s: %v, %d, %v", text, got.HLS.Window, got.HLS.Memory, err)
		}
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "hls:\n", "media: {public_ips: }\n"} {
		got, err := Load(write(t, text), nil)
		if err != nil {
			t.Errorf("file %q: %v", text, err)
			continue
		}
		compare(t, got, Default())
	}
}

// TestErrors: each error is one line with place, key, value and remedy.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		file    string
		environ []string
		want    string
	}{
		{"unknown key", "\nhls:\n  segmnt: 2s\n", nil, `FILE:3: unknown key "hls.segmnt"; did you mean "hls.segment"?`},
		{"key without its group", "publish_token: abcdefgh\n", nil, `FILE:1: unknown key "publish_token"; did you mean "auth.publish_token"?`},
		{"group without its group", "turn: {address: ':3478'}\n", nil, `FILE:1: unknown key "turn"; did you mean "media.turn"?`},
		{"unknown group", "mdia: {address: ':8100'}\n", nil, `FILE:1: unknown key "mdia"; did you mean "media"?`},
		{"key like no other", "xyzzyplugh: 1\n", nil, `FILE:1: unknown key "xyzzyplugh"; see whipcast.yaml for all keys`},
		{"key twice", "data_dir: a\ndata_dir: b\n", nil, `FILE:2: key "data_dir" appears twice; keep one`},
		{"value where a group is", "log: debug\n", nil, `FILE:1: log = "debug": a group of keys, not a value; it holds log.level, log.format`},
		{"group where a value is", "data_dir: {a: b}\n", nil, `FILE:1: data_dir = "{…}": not a single value; write one value after the colon`},
		{"list where a value is", "data_dir: [a]\n", nil, `FILE:1: data_dir = "[…]": not a single value; write one value after the colon`},
		{"no value", "data_dir:\n", nil, `FILE:1: data_dir = "": no value; give one, or remove the line`},
		{"alias", "data_dir: &a x\nlog: {level: *a}\n", nil, `FILE:2: log.level = "*a": a YAML alias; write the value itself`},
		{"no mapping", "- a\n", nil, `FILE:1: the file is no list of keys; write lines such as data_dir: ./data`},
		{"two documents", "data_dir: a\n---\ndata_dir: b\n", nil, `FILE:2: a second document; keep one, without ---`},
		{"not YAML", "log:\n\tlevel: info\n", nil, `FILE:2: not YAML: found character that cannot start any token; indent by spaces and quote values that have special characters`},
		{"not YAML at its end", "log: [\n", nil, `FILE:2: not YAML: did not find expected node content; indent by spaces and quote values that have special characters`},
		{"unknown variable of a group", "", []string{"WHIPCAST_HTTP_PORT=1"}, `environment: unknown variable "WHIPCAST_HTTP_PORT"; http holds http.address, http.tls.certificate, http.tls.key, http.tls.acme_host, http.proxies`},
		{"unknown variable", "", []string{"WHIPCAST_HTTP_ADDR=:1"}, `environment: unknown variable "WHIPCAST_HTTP_ADDR"; did you mean "http.address"?`},
		{"variable", "", []string{"WHIPCAST_HTTP_ADDRESS=8080"}, `WHIPCAST_HTTP_ADDRESS: http.address = "8080": not an address; write host:port, such as :8080 or 127.0.0.1:8080`},
		{"empty folder", "data_dir: ''\n", nil, `FILE:1: data_dir = "": empty; name a folder, such as ./data`},
		{"control character", "data_dir: \"a\\nb\"\n", nil, `FILE:1: data_dir = "a\nb": has a control character; name a path on one line`},
		{"level", "log: {level: loud}\n", nil, `FILE:1: log.level = "loud": unknown word; use debug, info, warn or error`},
		{"format", "log: {format: xml}\n", nil, `FILE:1: log.format = "xml": unknown word; use text or json`},
		{"port too large", "http: {address: ':65536'}\n", nil, `FILE:1: http.address = ":65536": the port is no number from 0 to 65535; write host:port, such as :8080 or 127.0.0.1:8080`},
		{"port with a name", "http: {address: ':http'}\n", nil, `FILE:1: http.address = ":http": the port is no number from 0 to 65535; write host:port, such as :8080 or 127.0.0.1:8080`},
		{"host with a slash", "admin: {address: 'http://x:1'}\n", nil, `FILE:1: admin.address = "http://x:1": not an address; write host:port, such as :8080 or 127.0.0.1:8080`},
		{"host with a space", "admin: {address: 'x y:1'}\n", nil, `FILE:1: admin.address = "x y:1": the host is neither an IP address nor a name; write host:port, such as :8080 or 127.0.0.1:8080`},
		{"same port", "admin: {address: '127.0.0.1:8080'}\n", nil, `FILE:1: admin.address = "127.0.0.1:8080": http.address has the same port (:8080); give each its own port`},
		{"same port, file against default", "http: {address: '[::]:8100'}\n", nil, `media.address = ":8100": http.address has the same port ([::]:8100); give each its own port`},
		{"certificate without key", "http:\n  tls:\n    certificate: c.pem\n", nil, `FILE:3: http.tls.certificate = "c.pem": http.tls.key is not set; set both or none`},
		{"key without certificate", "http:\n  tls:\n    key: k.pem\n", nil, `FILE:3: http.tls.key = "k.pem": http.tls.certificate is not set; set both or none`},
		{"IP address", "media: {public_ips: [203.0.113.7, example.com]}\n", nil, `FILE:1: media.public_ips = "203.0.113.7,example.com": "example.com" is no IP address; list IP addresses, such as [203.0.113.7, 2001:db8::7]`},
		{"IP address with zone", "media: {public_ips: ['fe80::1%eth0']}\n", nil, `FILE:1: media.public_ips = "fe80::1%eth0": "fe80::1%eth0" is no IP address; list IP addresses, such as [203.0.113.7, 2001:db8::7]`},
		{"unspecified IP address", "media: {public_ips: [0.0.0.0]}\n", nil, `FILE:1: media.public_ips = "0.0.0.0": 0.0.0.0 cannot be reached by anybody; list the addresses that others reach this machine by`},
		{"IP address twice", "media: {public_ips: [203.0.113.7, 203.0.113.7]}\n", nil, `FILE:1: media.public_ips = "203.0.113.7,203.0.113.7": 203.0.113.7 is listed twice; list it once`},
		{"list of lists", "media: {public_ips: [[1]]}\n", nil, `FILE:1: media.public_ips = "[…]": not a list of values; write [first, second]`},
		{"token too short, not shown (X4)", "auth: {publish_token: hunter2}\n", nil, `FILE:1: auth.publish_token = "(not shown)": 7 characters; use 8 to 256, or leave it empty to have one made`},
		{"token with a space, not shown (X4)", "", []string{"WHIPCAST_AUTH_PUBLISH_TOKEN=correct horse"}, `WHIPCAST_AUTH_PUBLISH_TOKEN: auth.publish_token = "(not shown)": has a character that no bearer token may have; use letters, digits and - . _ ~ + /`},
		{"list of tokens, not shown (X4)", "auth: {publish_token: [secretsecret]}\n", nil, `FILE:1: auth.publish_token = "(not shown)": not a single value; write one value after the colon`},
		{"ACME and files", "http: {tls: {acme_host: live.example.org, certificate: a, key: b}}\n", nil, `FILE:1: http.tls.acme_host = "live.example.org": http.tls.certificate or http.tls.key is set, too; set one of the two: a certificate of your own, or one by ACME`},
		{"ACME for an address", "http: {tls: {acme_host: 203.0.113.7}}\n", nil, `FILE:1: http.tls.acme_host = "203.0.113.7": an address, which gets no certificate; write the name that browsers reach this machine by, such as live.example.org`},
		{"ACME for a wildcard", "http: {tls: {acme_host: '*.example.org'}}\n", nil, `FILE:1: http.tls.acme_host = "*.example.org": not a DNS name; write the name that browsers reach this machine by, such as live.example.org; names in other scripts as xn--…`},
		{"ACME for a local name", "http: {tls: {acme_host: localhost}}\n", nil, `FILE:1: http.tls.acme_host = "localhost": not a name of the public DNS; write the name that browsers reach this machine by, such as live.example.org`},
		{"proxy that is no network", "http: {proxies: [nginx]}\n", nil, `FILE:1: http.proxies = "nginx": "nginx" is no IP network; list networks or addresses, such as [10.0.0.0/8, 2001:db8::7]`},
		{"everybody a proxy (X34)", "http: {proxies: [0.0.0.0/0]}\n", nil, `FILE:1: http.proxies = "0.0.0.0/0": 0.0.0.0/0 is everybody, who could write any address; list the networks of your proxies only`},
		{"drain to a path", "drain: {peer: 'https://b.example.org/x'}\n", nil, `FILE:1: drain.peer = "https://b.example.org/x": more than scheme, host and port; write one such as https://b.example.org`},
		{"drain to a host", "drain: {peer: b.example.org}\n", nil, `FILE:1: drain.peer = "b.example.org": not a URL; write one such as https://b.example.org`},
		{"watch", "auth: {watch: yes}\n", nil, `FILE:1: auth.watch = "yes": unknown word; use open or token`},
		{"key without hash", "auth: {keys: [{name: a, actions: [play], streams: ['*']}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: hash: not sha256: and 64 hexadecimal digits; whipcast token --key makes a key and its hash; the key itself does not belong here`},
		{"key itself in place of its hash, not shown (X4)", "auth: {keys: [{name: a, hash: correcthorse, actions: [play], streams: ['*']}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: hash: not sha256: and 64 hexadecimal digits; whipcast token --key makes a key and its hash; the key itself does not belong here`},
		{"key of no action", "auth: {keys: [{name: a, hash: '" + someHash + "', streams: ['*']}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: actions: none; list what it is for: publish, play or admin`},
		{"key of an unknown action", "auth: {keys: [{name: a, hash: '" + someHash + "', actions: [watch], streams: ['*']}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: actions: unknown word; use publish, play or admin`},
		{"key of no stream", "auth: {keys: [{name: a, hash: '" + someHash + "', actions: [play]}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: streams: 0; list 1 to 100 names or beginnings of names, such as ["*"] for all`},
		{"key of an odd stream", "auth: {keys: [{name: a, hash: '" + someHash + "', actions: [play], streams: ['a*b']}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: streams: "a*b" is no name of a stream; use a name, or the beginning of names and *`},
		{"two keys of one name", "auth: {keys: [" + someKey + "," + someKey + "]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 2: its name or its hash is another key's; give each its own`},
		{"unknown key of a key", "auth: {keys: [{nam: a}]}\n", nil, `FILE:1: auth.keys = "(not shown)": entry 1: unknown key "nam"; it has name, hash, actions, streams`},
		{"keys that are no list", "auth: {keys: {a: b}}\n", nil, `FILE:1: auth.keys = "(not shown)": not a list; write [{name: studio, hash: "sha256:…", actions: [publish], streams: [studio-*]}]`},
		{"issuer alone", "auth: {jwks: {issuer: 'https://login.example.org'}}\n", nil, `FILE:1: auth.jwks = "{\"issuer\":\"https://login.example.org\"}": audience: not given; write what the tokens have as aud: without it tokens for other services would be good here`},
		{"keys without TLS (X30)", "auth: {jwks: {issuer: x, audience: y, url: 'http://10.0.0.1/keys'}}\n", nil, `FILE:1: auth.jwks = "{\"audience\":\"y\",\"issuer\":\"x\",\"url\":\"http://10.0.0.1/keys\"}": url: not behind https; write one such as https://login.example.org/keys; only this machine may do without TLS`},
		{"issuer that is no URL", "auth: {jwks: {issuer: x, audience: y}}\n", nil, `FILE:1: auth.jwks = "{\"audience\":\"y\",\"issuer\":\"x\"}": issuer: no https URL; give the url of the key set as well`},
		{"issuer that is the gateway", "auth: {jwks: {issuer: whipcast, audience: y}}\n", nil, `FILE:1: auth.jwks = "{\"audience\":\"y\",\"issuer\":\"whipcast\"}": issuer: that is the gateway itself; whipcast token makes its tokens; auth.jwks is for others`},
		{"word of no action", "auth: {jwks: {issuer: 'https://x', audience: y, words: {a: b}}}\n", nil, `FILE:1: auth.jwks = "{\"audience\":\"y\",\"issuer\":\"https://x\",\"words\":{\"a\":\"b\"}}": words: unknown word; use publish, play or admin`},
		{"webhook without URL", "auth: {webhook: {secret: 0123456789abcdef}}\n", nil, `FILE:1: auth.webhook = "(not shown)": url: not a URL; write one such as https://example.org/whipcast`},
		{"webhook with a short secret", "auth: {webhook: {url: 'https://x', secret: short}}\n", nil, `FILE:1: auth.webhook = "(not shown)": secret: shorter than 16 characters; make one, as by openssl rand -hex 32, and tell the server: it checks by it who asks`},
		{"webhook that is kept too long (X6)", "", []string{"WHIPCAST_AUTH_WEBHOOK={url: 'https://x', secret: 0123456789abcdef, keep: 31s}"}, `WHIPCAST_AUTH_WEBHOOK: auth.webhook = "(not shown)": keep: too long; use 0s to 30s`},
		{"size without a number", "hls: {memory: lots}\n", nil, `FILE:1: hls.memory = "lots": not a size; write a whole number and a unit, such as 256MiB or 2GiB; use 16MiB to 1TiB`},
		{"size of another thousand", "hls: {memory: 1GB}\n", nil, `FILE:1: hls.memory = "1GB": not a size; write a whole number and a unit, such as 256MiB or 2GiB; use 16MiB to 1TiB`},
		{"size too small", "hls: {memory: 256}\n", nil, `FILE:1: hls.memory = "256": too small; use 16MiB to 1TiB`},
		{"size too large", "hls: {memory: 9223372036854775807GiB}\n", nil, `FILE:1: hls.memory = "9223372036854775807GiB": too large; use 16MiB to 1TiB`},
		{"window", "hls: {window: 25h}\n", nil, `FILE:1: hls.window = "25h": too long; use 1.5s to 24h`},
		{"no unit", "hls: {segment: 2}\n", nil, `FILE:1: hls.segment = "2": not a duration; write a number and a unit, such as 500ms, 2s or 1m; use 500ms to 10s`},
		{"negative", "hls: {segment: -2s}\n", nil, `FILE:1: hls.segment = "-2s": too short; use 500ms to 10s`},
		{"too long", "hls: {grace: 2h}\n", nil, `FILE:1: hls.grace = "2h": too long; use 100ms to 1h`},
		{"part", "hls:\n  segment: 2s\n  part: 1500ms\n", nil, `FILE:3: hls.part = "1.5s": longer than half of hls.segment (2s); set it to 1s or less`},
		{"window", "hls:\n  window: 5s\n", nil, `FILE:2: hls.window = "5s": shorter than three segments of hls.segment (2s); set it to 6s or more`},
		{"limit", "limits: {streams: 0}\n", nil, `FILE:1: limits.streams = "0": no number in range; use 1 to 10000`},
		{"limit is no number", "limits: {viewers: many}\n", nil, `FILE:1: limits.viewers = "many": no number in range; use 1 to 1000000`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file)
			_, err := Load(path, tt.environ)
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != tt.want {
				t.Errorf("error:\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

const (
	someHash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	someKey  = "{name: a, hash: '" + someHash + "', actions: [play], streams: ['*']}"
)

// TestAuth: the groups of auth come from the file and from variables alike, and are
// written as they can be read again.
func TestAuth(t *testing.T) {
	const file = `
auth:
  keys:
    - {name: studio, hash: "` + someHash + `", actions: [publish, play], streams: [studio, tour-*]}
  jwks:
    issuer: https://login.example.org
    audience: whipcast
    words: {broadcaster: publish}
    default_actions: [play]
    default_streams: ["*"]
  webhook: {url: "http://shop:3000/may", secret: 0123456789abcdef}
`
	want := Default()
	want.Auth.Keys = []Key{{Name: "studio", Hash: someHash, Actions: []string{"publish", "play"}, Streams: []string{"studio", "tour-*"}}}
	want.Auth.JWKS = JWKS{
		Issuer: "https://login.example.org", Audience: "whipcast", Words: map[string]string{"broadcaster": "publish"},
		DefaultActions: []string{"play"}, DefaultStreams: []string{"*"},
	}
	want.Auth.Webhook = Webhook{URL: "http://shop:3000/may", Secret: "0123456789abcdef", Keep: 30 * time.Second}
	got, err := Load(write(t, file), nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want)
	var environ []string
	for _, k := range got.keys() {
		environ = append(environ, k.variable()+"="+k.text())
	}
	again, err := Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, again, want)
}

func TestUnreadableFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	if err == nil || !strings.Contains(err.Error(), "none.yaml") || !strings.Contains(err.Error(), "check --config") {
		t.Errorf("error %v, want one that names the file and --config", err)
	}
	path := write(t, strings.Repeat("# filler\n", maxFile/8))
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("error %v, want one about the size", err)
	}
}

func TestFlagErrors(t *testing.T) {
	_, err := Load("", nil, Setting{Flag: "--hls.part", Key: "hls.part", Value: "3s"})
	if want := `--hls.part: hls.part = "3s": longer than half of hls.segment (2s); set it to 1s or less`; err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
}

func TestValidateFindsBadFields(t *testing.T) {
	c := Default()
	c.HLS.Part = 0
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), `hls.part = "0s": too short`) {
		t.Errorf("error %v, want one about hls.part", err)
	}
}

// FuzzLoad: whatever the file holds, Load returns a valid Config or one line.
func FuzzLoad(f *testing.F) {
	reference, err := os.ReadFile("whipcast.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(reference), "", "hls: {part: 3s}", "a: &a [*a]", "? [a]\n: b", "log: !!binary x", "\xff\xfe", "<<: {data_dir: a}",
		"auth: {keys: [" + someKey + "], jwks: {issuer: 'https://x', audience: y}, webhook: {url: 'https://x', secret: 0123456789abcdef}}",
		"webhooks: [{url: 'https://x', secret: 0123456789abcdef, events: [replay.ready], streams: a*}]",
		"media: {turn: {servers: [{url: 'turn:a', secret: b}]}}",
		"media: {public_ips: [1.2.3.4, ::1]}", "auth: {publish_token: 'a b'}", "--- |\n x\n...\n%YAML 1.2\n---\n",
	} {
		f.Add(seed, ":8080")
	}
	f.Fuzz(func(t *testing.T, text, variable string) {
		l := loader{config: Default(), where: map[string]string{}}
		err := l.file("f.yaml", []byte(text))
		if err == nil {
			err = l.environment([]string{"WHIPCAST_HTTP_ADDRESS=" + variable})
		}
		if err == nil {
			err = l.config.Validate()
		}
		if err == nil {
			for _, k := range l.config.keys() {
				if strings.ContainsAny(k.text(), "\n\r") {
					t.Errorf("%s was accepted with a line break: %q", k.name, k.text())
				}
			}
			return
		}
		if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) == 0 {
			t.Errorf("error is not one line: %q", err)
		}
	})
}

func TestStorageEntries(t *testing.T) {
	file := `
storage:
  - type: s3
    bucket: media
    endpoint: https://s3.example.org
    region: eu-central-1
    prefix: live
    path_style: true
    access_key: AK
    secret_key: hunter2
    acl: public-read
    playlist_every: 1s
    memory: 64MiB
    spool: 2GiB
    serve: parts
    public_url: https://cdn.example.org/live/
    fence: false
    keep: 24h
    replay: true
  - {type: directory, path: /srv/hls, sync: all}
  - type: httpput
    url: https://me:hunter2@ingest.example.org/live
    headers: {Authorization: Bearer x, X-Origin: a}
    no_delete: true
    gzip: true
    spool: 0
    replay: true
`
	want := Default()
	want.Storage = []Storage{
		{
			Type: "s3", Bucket: "media", Endpoint: "https://s3.example.org", Region: "eu-central-1", Prefix: "live", PathStyle: true,
			AccessKey: "AK", SecretKey: "hunter2", ACL: "public-read", PlaylistEvery: time.Second, Memory: 64 << 20, Spool: 2 << 30,
			Serve: "parts", PublicURL: "https://cdn.example.org/live",
			Keep: 24 * time.Hour, Replay: true,
		},
		{Type: "directory", Path: "/srv/hls", Sync: "all", Fence: true, Memory: 256 << 20},
		{
			Type: "httpput", URL: "https://me:hunter2@ingest.example.org/live", Headers: map[string]string{"Authorization": "Bearer x", "X-Origin": "a"},
			NoDelete: true, Gzip: true, Memory: 256 << 20, Keep: KeepForever, Replay: true,
		},
	}
	got, err := Load(write(t, file), nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want)
	// A variable overrides the file, and takes the same on one line.
	got, err = Load(write(t, file), []string{`WHIPCAST_STORAGE=[{"type": "directory", "path": "./hls"}]`})
	if err != nil {
		t.Fatal(err)
	}
	want.Storage = []Storage{{Type: "directory", Path: "./hls", Sync: "playlists", Fence: true, Memory: 256 << 20}}
	compare(t, got, want)
}

func TestStorageErrors(t *testing.T) {
	for text, want := range map[string]string{
		"storage: x":                                `not a list; write [{type: directory, path: ./hls}]`,
		"storage: [x]":                              `entry 1: no keys; write {type: directory, path: ./hls}`,
		"storage: [{path: x}]":                      `entry 1: type: unknown word; use s3, directory or httpput`,
		"storage: [{type: ftp}]":                    `entry 1: type: unknown word; use s3, directory or httpput`,
		"storage: [{type: s3}]":                     `entry 1: bucket: not given; name the bucket`,
		"storage: [{type: s3, bucket: a, path: x}]": `entry 1: path: unknown key of s3; s3 has type, endpoint, region, bucket`,
		"storage: [{type: s3, bucket: a, access_key: x, secret_key: ''}]":          `access_key, secret_key: not given; give both`,
		"storage: [{type: s3, bucket: a, endpoint: x}]":                            `not a URL; write one such as`,
		"storage: [{type: s3, bucket: [a]}]":                                       `entry 1: bucket: not a single value`,
		"storage: [{type: s3, bucket: a, bucket: b}]":                              `key "bucket" appears twice; keep one`,
		"storage: [{type: directory, path: a}, {type: directory}]":                 `entry 2: path: not given; name a folder`,
		"storage: [{type: directory, path: a, sync: x}]":                           `entry 1: sync: unknown word; use playlists, none or all`,
		"storage: [{type: directory, path: a, replay: true, keep: live}]":          `entry 1: replay: its media would be deleted: keep is live; set keep to forever, or to a time such as 24h`,
		"storage: [{type: directory, path: a, keep: always}]":                      `entry 1: keep: not a duration; write live, forever or a time such as 24h`,
		"storage: [{type: directory, path: a, keep: 1m}]":                          `entry 1: keep: too short; use 2h to 87600h`,
		"storage: [{type: httpput, url: 'https://x', keep: 24h, no_delete: true}]": `entry 1: keep: nothing is deleted with no_delete`,
		"storage: [{type: directory, path: a, memory: 1}]":                         `entry 1: memory: too small; use 1MiB to 1TiB`,
		"storage: [{type: httpput}]":                                               `entry 1: url: not given`,
		"storage: [{type: httpput, url: 'https://x', headers: 1}]":                 `entry 1: headers: no fields`,
		"storage: [{type: httpput, url: 'https://x', key: k}]":                     `certificate, key: not given; give both or none`,
		"storage: [{type: httpput, url: 'https://x', no_delete: maybe}]":           `entry 1: no_delete: unknown word; use true or false`,
		"storage: [{type: httpput, url: 'https://x', spool: -1}]":                  `entry 1: spool: not a size`,
	} {
		path := write(t, text)
		_, err := Load(path, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+":1: storage = \"(not shown)\"") {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	_, err := Load("", []string{"WHIPCAST_STORAGE=[{type: s3, bucket: a, secret_key: hunter2, access_key: ''}]"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v (X4)", err)
	}
}

func TestServeErrors(t *testing.T) {
	const at = "storage: [{type: directory, path: a, "
	for text, want := range map[string]string{
		"serve: all}]":                                `entry 1: serve: unknown word; use parts or segments`,
		"serve: parts}]":                              `serve, public_url: not given; give both or none`,
		"public_url: 'https://x'}]":                   `serve, public_url: not given; give both or none`,
		"serve: parts, public_url: /x}]":              `public_url: not a URL; write one such as`,
		"serve: parts, public_url: 'https://x y'}]":   `public_url: not a URL`,
		"serve: parts, public_url: 'https://x;y/'}]":  `public_url: not the name or address of a host`,
		"serve: parts, public_url: 'https://x?y'}]":   `public_url: has more than scheme, host and path`,
		"serve: parts, public_url: 'https://a:b@x'}]": `public_url: has more than scheme, host and path`,
		"serve: parts, public_url: 'https://x'}, {type: directory, path: b, serve: segments, public_url: 'https://y'}]": `entry 2: serve: another entry has it`,
	} {
		if _, err := Load(write(t, at+text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestWebhooks(t *testing.T) {
	file := `
webhooks:
  - url: https://example.org/events?key=hunter2
    secret: whsec_MDEyMzQ1Njc4OWFiY2RlZg==
    events: [stream.started, storage.failing]
    streams: tour-*
  - {url: 'http://10.0.0.7:3000', secret: 0123456789abcdef, streams: [a, b*]}
`
	want := Default()
	want.Webhooks = []Hook{
		{
			URL: "https://example.org/events?key=hunter2", Secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
			Events: []string{"stream.started", "storage.failing"}, Streams: []string{"tour-*"},
		},
		{URL: "http://10.0.0.7:3000", Secret: "0123456789abcdef", Streams: []string{"a", "b*"}},
	}
	got, err := Load(write(t, file), nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want)
	for text, want := range map[string]string{
		"{}":                                  `not a list; write [{url: https://example.org/events, secret: …}]`,
		"[x]":                                 `entry 1: no keys; write [{url:`,
		"[{uri: x}]":                          `entry 1: unknown key "uri"; it has url, secret, events, streams`,
		"[{url: x}]":                          `entry 1: url: not a URL; write one such as https://example.org/events`,
		"[{url: ftp://x}]":                    `entry 1: url: not a URL`,
		"[{url: 'https://x'}]":                `entry 1: secret: not given; make one, as by openssl rand -hex 32`,
		"[{url: 'https://x', secret: short}]": `entry 1: secret: shorter than 16 characters; make one`,
		"[{url: 'https://x', secret: whsec_notbase64notbase64}]":                                       `entry 1: secret: not 16 or more bytes in base64 after whsec_; copy it as a whole`,
		"[{url: 'https://x', secret: whsec_c2hvcnQ=}]":                                                 `entry 1: secret: not 16 or more bytes in base64`,
		"[{url: 'https://x', secret: 0123456789abcdef, events: [stream.begun]}]":                       `entry 1: events: unknown word; use stream.started, stream.stopped,`,
		"[{url: 'https://x', secret: 0123456789abcdef, events: all}]":                                  `entry 1: events: not a list`,
		"[{url: 'https://x', secret: 0123456789abcdef, streams: 'a*b'}]":                               `entry 1: streams: "a*b" is no name of a stream`,
		"[{url: 'https://x', secret: 0123456789abcdef}, {url: 'https://x', secret: 0123456789abcdeg}]": `entry 2: url: another entry has it; make one entry of the two`,
	} {
		_, err := Load("", []string{"WHIPCAST_WEBHOOKS=" + text})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `WHIPCAST_WEBHOOKS: webhooks = "(not shown)": `) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}
