package api

import (
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"math"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/stream"
)

// beaconSuffix ends the path of the one resource that viewers write to:
//
//	POST /v1/streams/{stream}/latency   {"playing": 1795284000123, "stalls": 0, "buffer": 1.2}
const beaconSuffix = "/latency"

// maxBeacon is the longest report of a player, in bytes.
const maxBeacon = 1024

// reportOperation describes what listen takes: viewers report, so it is no operation of
// the table.
func (s *Server) reportOperation(t *router) {
	codes := []Code{ReportRate, NoStream, TooLarge, Malformed, TokenNeeded, WrongToken, TokenExpired, TokenRevoked, NotPermitted, TokenUnchecked}
	t.codes["report"] = codes
	responses := t.responses(codes)
	responses["204"] = &huma.Response{Description: "No Content"}
	schema := t.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Report](), true, "Report")
	t.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "report", Method: http.MethodPost, Path: "/v1/streams/{stream}/latency", Tags: []string{"Streams"},
		Summary: "Report of a player, every ten seconds; by whoever may watch", Responses: responses,
		Parameters:  []*huma.Param{{Name: "stream", In: "path", Required: true, Description: "Name of the stream.", Schema: &huma.Schema{Type: "string"}}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
	})
}

// Report is how a beacon is described.
type Report struct {
	Playing float64 `json:"playing,omitempty" doc:"Program date-time of the picture on the screen, in milliseconds since 1970."`
	Latency float64 `json:"latency,omitempty" doc:"In seconds, for players that do not know that."`
	Buffer  float64 `json:"buffer,omitempty" doc:"Seconds loaded ahead."`
	Stalls  float64 `json:"stalls,omitempty" doc:"Times that the picture stood still since the report before."`
}

// beacon is what a player reports of itself every few seconds.
type beacon struct {
	// Playing is the program date-time of the picture on the screen, in milliseconds
	// since 1970. It is on the gateway's clock, so the viewer's need not be right.
	Playing *float64 `json:"playing"`
	// Latency is for players that do not know that: in seconds, by their own means.
	Latency *float64 `json:"latency"`
	Buffer  *float64 `json:"buffer"` // seconds loaded ahead
	Stalls  float64  `json:"stalls"` // since the report before
}

// beaconStream returns whose reports a path takes.
func beaconStream(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/v1/streams/")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, beaconSuffix)
}

// listen takes the report of a player, which may be any page's (specs X9, X10).
func (s *Server) listen(w http.ResponseWriter, r *http.Request, name string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
	default:
		h.Set("Allow", "POST, OPTIONS")
		refuse(w, r, Refuse(MethodNotAllowed, "players report here by POST"))
		return
	}
	h.Set("Cache-Control", "no-store")
	if err := s.hear(w, r, name); err != nil {
		s.refusedReports.Add(1)
		refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// hear takes a report, or says why not. What is refused costs little: nothing is
// read before the rate limit, and nothing is kept of it.
func (s *Server) hear(w http.ResponseWriter, r *http.Request, name string) error {
	if !s.pace.allow(s.cfg.Client(r), time.Now()) {
		return Refuse(ReportRate, "")
	}
	if !stream.ValidName(name) {
		return stream.ErrName
	}
	if s.cfg.Watch != nil {
		if err := s.cfg.Watch(r, name); err != nil {
			return err
		}
	}
	figures := s.cfg.Latency.Find(name)
	if figures == nil {
		return Refuse(NoStream, "")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBeacon))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return Refuse(TooLarge, "a report has at most 1024 bytes")
	}
	now := time.Now()
	report, ok := parseBeacon(body, now)
	if err != nil || !ok {
		return Refuse(Malformed, `send JSON such as {"playing": 1795284000123, "stalls": 0, "buffer": 1.2}`)
	}
	figures.Report(report, now)
	return nil
}

// parseBeacon reads a report. What cannot be true counts as not told.
func parseBeacon(body []byte, now time.Time) (latency.Report, bool) {
	var b beacon
	if json.Unmarshal(body, &b) != nil {
		return latency.Report{}, false
	}
	report := latency.Report{Origin: latency.Beacon, Latency: -1, Buffer: -1, Stalls: int(clamp(b.Stalls, 1000))}
	if b.Buffer != nil && *b.Buffer >= 0 {
		report.Buffer = seconds(*b.Buffer)
	}
	switch {
	case b.Playing != nil:
		behind := float64(now.UnixMilli())/1000 - *b.Playing/1000
		if behind > -0.5 { // corrections of program date-time
			report.Latency = seconds(behind)
		}
	case b.Latency != nil && *b.Latency >= 0:
		report.Latency = seconds(*b.Latency)
	}
	return report, true
}

func clamp(value, most float64) float64 { return math.Max(0, math.Min(value, most)) }

func seconds(value float64) time.Duration {
	return time.Duration(clamp(value, latency.Longest.Seconds()) * float64(time.Second))
}

// pace limits the reports of each address and of all together (specs X23). Its
// memory is fixed: addresses share slots by chance, and then their limit.
type pace struct {
	seed  maphash.Seed
	slots [4096]atomic.Int64 // until when the reports that came take, in nanoseconds since 1970
	all   atomic.Int64
}

// Limits of reports. A page sends one in ten seconds; many viewers may share an
// address.
const (
	reportEach  = 200 * time.Millisecond // one address: five a second
	reportBurst = 20 * time.Second       // or a hundred at once
	reportAll   = 500 * time.Microsecond // all: two thousand a second
	burstAll    = time.Second
)

// allow takes a place of an address at an instant; the zero address is only
// counted with all.
func (p *pace) allow(a netip.Addr, now time.Time) bool {
	if a.IsValid() && !take(&p.slots[maphash.Comparable(p.seed, a)%uint64(len(p.slots))], now, reportEach, reportBurst) {
		return false
	}
	return take(&p.all, now, reportAll, burstAll)
}

// take is the generic cell rate algorithm (ITU-T I.371 annex A).
func take(until *atomic.Int64, now time.Time, each, burst time.Duration) bool {
	for {
		old := until.Load()
		next := max(old, now.UnixNano()) + int64(each)
		if next-now.UnixNano() > int64(burst) {
			return false
		}
		if until.CompareAndSwap(old, next) {
			return true
		}
	}
}

// remoteAddress is whom a request counts for: the address, for IPv6 the /64
// network. A proxy on this machine stands for many viewers and is not counted.
func remoteAddress(r *http.Request) netip.Addr {
	endpoint, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || endpoint.Addr().Unmap().IsLoopback() {
		return netip.Addr{}
	}
	address := endpoint.Addr().Unmap().WithZone("")
	if network, err := address.Prefix(64); err == nil && address.Is6() {
		return network.Addr()
	}
	return address
}

// hopsOf returns what is known of a stream's hops; those without a sample are not
// there.
func hopsOf(figures *latency.Stream, now time.Time) map[string]Hop {
	hops := map[string]Hop{}
	for _, hop := range latency.Hops() {
		s := figures.Recent(hop, now)
		p50, ok := s.Quantile(0.5)
		p95, _ := s.Quantile(0.95)
		if ok {
			hops[hop.String()] = Hop{P50: round(p50), P95: round(p95), Samples: s.Count()}
		}
	}
	return hops
}

// round leaves milliseconds.
func round(seconds float64) float64 { return math.Round(seconds*1000) / 1000 }
