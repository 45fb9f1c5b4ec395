package configs

import (
	"strings"
	"testing"
)

func TestPullEntries(t *testing.T) {
	sum := strings.Repeat("ab:", 31) + "ab"
	text := `
rtsp:
  address: ":8554"
  pull:
    - stream: door
      url: rtsp://user:p@ss@192.0.2.7:554/stream1?a=1&b=2
      transport: tcp
      on_demand: true
    - {stream: yard, url: 'rtsps://camera.example.org/1', fingerprint: '` + sum + `'}
`
	got, err := Load(write(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.RTSP = RTSP{Address: ":8554", Pull: []Pull{
		{Stream: "door", URL: "rtsp://user:p@ss@192.0.2.7:554/stream1?a=1&b=2", Transport: "tcp", OnDemand: true},
		{Stream: "yard", URL: "rtsps://camera.example.org/1", Transport: "auto", Fingerprint: sum},
	}}
	compare(t, got, want)
	if err := got.Validate(); err != nil { // it reads what it has written
		t.Error(err)
	}
	got, err = Load("", []string{"WHIPCAST_RTSP_PULL=[{stream: door, url: 'rtsp://192.0.2.7/1', transport: udp}]"})
	if err != nil {
		t.Fatal(err)
	}
	want = Default()
	want.RTSP.Pull = []Pull{{Stream: "door", URL: "rtsp://192.0.2.7/1", Transport: "udp"}}
	compare(t, got, want)
}

func TestPullErrors(t *testing.T) {
	for text, want := range map[string]string{
		"pull: x":                         `not a list; write [{stream: door`,
		"pull: [x]":                       `entry 1: no keys; write {stream: door`,
		"pull: [{url: 'rtsp://hunter2'}]": `entry 1: stream: not given; name the stream`,
		"pull: [{stream: a}]":             `entry 1: url: that of a is not one of RTSP`,
		"pull: [{stream: a, url: 'http://u:hunter2@h/'}]":                                       `that of a is not one of RTSP`,
		"pull: [{stream: a, url: 'rtsp://u:hunter2@h/', transport: quic}]":                      `entry 1: transport: unknown word; use auto, tcp or udp`,
		"pull: [{stream: a, url: 'rtsp://u:hunter2@h/', on_demand: maybe}]":                     `entry 1: on_demand: unknown word`,
		"pull: [{stream: a, url: 'rtsp://u:hunter2@h/', fingerprint: abc}]":                     `entry 1: fingerprint: not the SHA-256`,
		"pull: [{stream: a, url: 'rtsp://u:hunter2@h/', password: hunter2}]":                    `entry 1: password: unknown key`,
		"pull: [{stream: a, url: [a]}]":                                                         `entry 1: url: not a single value`,
		"pull: [{stream: a, url: 'rtsp://u:hunter2@h/'}, {stream: a, url: 'rtsp://hunter2@h'}]": `entry 2: stream: a is fetched twice`,
	} {
		path := write(t, "rtsp:\n  "+text)
		_, err := Load(path, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+":2: rtsp.pull = \"(not shown)\"") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestRTSPAddresses: RTSP needs ports of its own, and RTSPS a certificate.
func TestRTSPAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"{address: ':8080'}":                              "http.address has the same port",
		"{address: ':8100'}":                              "media.address has the same port",
		"{address: ':8099'}":                              "it needs the UDP ports 8100 and 8101",
		"{address: ':65535'}":                             "it needs the UDP ports 65536 and 65537",
		"{address: '8554'}":                               "not an address",
		"{tls_address: ':8322'}":                          "http.tls.certificate is not set",
		"{address: ':8554', tls_address: '0.0.0.0:8554'}": "rtsp.address has the same port",
		"{address: '', tls_address: ''}":                  "",
		"{address: ':8554'}":                              "",
		"{address: '127.0.0.1:0'}":                        "",
		"{address: ''}":                                   "",
	} {
		_, err := Load(write(t, "rtsp: "+text), nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
