package hls

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
)

// What players send, in both versions of CTA-5004.
func TestCMCD(t *testing.T) {
	none := clientData{buffer: -1, bitrate: -1, latency: -1}
	for _, tt := range []struct {
		text string
		want clientData
	}{
		{"", none},
		{
			`bl=21300,br=3200,bs,cid="faec5fc2",d=4004,dl=18500,nor="..%2F300kbps%2Ftrack.m4v",ot=v,pr=1.08,sf=d,sid="6e2fb550",st=v,su,tb=6000`,
			clientData{buffer: 21300, bitrate: 3200, latency: -1, session: hashOf(`"6e2fb550"`), starved: true, startup: true, any: true},
		},
		{`bl=(2100),br=(4200;v 128;a),ltc=2650,bs=?0,su=?1,v=2`, clientData{buffer: 2100, bitrate: 4200, latency: 2650, startup: true, any: true}},
		{`cid="a,bl=1,b\",bl=2",bl=3`, clientData{buffer: 3, bitrate: -1, latency: -1, any: true}},
		{` bl=1 , br=2 `, clientData{buffer: 1, bitrate: 2, latency: -1, any: true}},
		{`bl=-1,br=x,ltc=`, none},
		{`bl=99999999999999999999`, none},
		{`bl=123456789012345678`, clientData{buffer: mostNumber, bitrate: -1, latency: -1, any: true}},
		{`ltc=1500.7`, clientData{buffer: -1, bitrate: -1, latency: 1500, any: true}},
		{strings.Repeat("x", maxCMCD) + ",bl=1", none},
		{`x=((((,bl=1`, none},
	} {
		got := none
		got.parse(tt.text)
		if got != tt.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.text, got, tt.want)
		}
	}
}

func TestCMCDOfARequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/hls/show/a/video/p1.m4s", http.NoBody)
	for name, value := range map[string]string{
		"CMCD-Request": "bl=1200,ltc=2000,su", "CMCD-Object": "br=900", "CMCD-Status": "bs",
	} {
		r.Header.Set(name, value)
	}
	want := clientData{buffer: 1200, bitrate: 900, latency: 2000, starved: true, startup: true, any: true}
	if got := clientDataOf(r); got != want {
		t.Errorf("headers: %+v", got)
	}
	r = httptest.NewRequest(http.MethodGet, "/hls/show/a/video/p1.m4s?x=1&CMCD="+url.QueryEscape("bl=1200,br=900,bs,ltc=2000,su")+"&CMCD=bl%3D9", http.NoBody)
	if got := clientDataOf(r); got != want {
		t.Errorf("query: %+v", got)
	}
	if got := want.report(); got != (latency.Report{Origin: latency.CMCD, Latency: 2 * time.Second, Stalls: 1, Buffer: -1, Bitrate: 900_000}) {
		t.Errorf("report: %+v", got)
	}
	r = httptest.NewRequest(http.MethodGet, "/hls/show/a/video/p1.m4s", http.NoBody)
	if n := testing.AllocsPerRun(100, func() { _ = clientDataOf(r) }); n != 0 {
		t.Errorf("%v allocations where a player tells nothing", n)
	}
}

// Whatever comes, what is told stays in bounds.
func FuzzCMCD(f *testing.F) {
	for _, text := range []string{
		`bl=21300,br=3200,bs,cid="faec5fc2",su`, `bl=(2100 3),br=(4200;v 128;a),ltc=2650`, `a="\`, `((()))`, "%62l%3D1", "%", "bl=%3",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range []*http.Request{
			{Header: http.Header{"Cmcd-Request": {text}, "Cmcd-Status": {text}}, URL: &url.URL{}},
			{URL: &url.URL{RawQuery: "CMCD=" + text}},
			{URL: &url.URL{RawQuery: text}},
		} {
			d := clientDataOf(r)
			for _, n := range []int64{d.buffer, d.bitrate, d.latency} {
				if n < -1 || n > mostNumber {
					t.Errorf("number %d", n)
				}
			}
			report := d.report()
			if report.Latency > latency.Longest || report.Buffer > latency.Longest || report.Bitrate < 0 || report.Stalls > 1 {
				t.Errorf("report %+v", report)
			}
		}
	})
}
