package api

import (
	"time"

	"github.com/whipcast/whipcast/api/event"
)

// Stream is one stream.
type Stream struct {
	Name   string    `json:"name"`
	Live   bool      `json:"live" doc:"Somebody publishes it."`
	Since  time.Time `json:"since" doc:"Of the last change of live or epoch."`
	Epoch  uint64    `json:"epoch" doc:"Counts its publishers."`
	Layers []Layer   `json:"layers" nullable:"false" doc:"What is published, or was at last."`
	// Viewers and Renditions are not told where nobody counts them.
	Viewers    *Viewers    `json:"viewers,omitempty"`
	Renditions []Rendition `json:"renditions,omitzero" nullable:"false" doc:"What HLS players choose from; of one stream only."`
	Watch      string      `json:"watch" doc:"Path of the page."`
	Seat       string      `json:"seat" doc:"Path of the page."`
	// Latency has no hop that nothing is known of.
	Latency map[string]Hop `json:"latency,omitzero" doc:"By hop; of one stream only."`
}

// Hop is how long media took for a stretch of its way in the last one to two minutes.
type Hop struct {
	P50     float64 `json:"p50" doc:"Median, in seconds."`
	P95     float64 `json:"p95" doc:"In seconds."`
	Samples uint64  `json:"samples"`
}

// Layer is one RTP sequence of a publisher.
type Layer struct {
	Kind    string `json:"kind" enum:"audio,video"`
	RID     string `json:"rid,omitempty" doc:"Of a simulcast layer."`
	Codec   string `json:"codec"`
	Packets uint64 `json:"packets" doc:"Of the present or the last publisher, without repeated ones."`
	Bytes   uint64 `json:"bytes" doc:"Of their payloads."`
	Bitrate uint64 `json:"bitrate,omitzero" doc:"Of the payloads, in bit/s, over the last two seconds."`
	// Findings are only told of one stream, not in the list of all.
	Findings []Finding `json:"findings,omitzero" nullable:"false" doc:"What is wrong with it, the worst first; of one stream only."`
}

// Finding is one thing that is wrong with a Layer. Codes are stable; words and remedy
// are for a person and may change.
type Finding struct {
	Code     string    `json:"code"`
	Severity string    `json:"severity" enum:"note,warning,problem"`
	Words    string    `json:"words" doc:"What is wrong."`
	Remedy   string    `json:"remedy" doc:"What to do about it."`
	Since    time.Time `json:"since"`
	Measure  *Measure  `json:"measure,omitempty" doc:"Behind it, where there is one."`
}

// Measure is a number with its unit: "s", "%", "ppm", "fps" or "/min".
type Measure struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Viewers counts who watches a stream.
type Viewers struct {
	Total int `json:"total" doc:"All of them."`
	WHEP  int `json:"whep" doc:"Sessions by WHEP that are connected."`
	RTSP  int `json:"rtsp" doc:"Sessions by RTSP that play."`
	HLS   int `json:"hls" doc:"Estimate: different players that asked the gateway for a playlist in the last 20 to 30 s. Behind a CDN it sees the CDN's requests only."`
}

// Rendition is one row of the multivariant playlist.
type Rendition struct {
	URI        string  `json:"uri" doc:"Of its playlist, relative to the multivariant one."`
	Codecs     string  `json:"codecs"`
	Resolution string  `json:"resolution,omitempty" example:"1280x720"`
	FrameRate  float64 `json:"frameRate,omitempty"`
	Peak       uint64  `json:"peak" doc:"Highest bit rate of a segment, in bit/s."`
	Average    uint64  `json:"average,omitempty" doc:"Mean bit rate, in bit/s."`
}

// Session is one WHIP, WHEP or RTSP session.
type Session struct {
	ID        string    `json:"id" doc:"It names the session here and, shortened, in the log; no secret."`
	Kind      string    `json:"kind" enum:"publish,watch"`
	Protocol  string    `json:"protocol" enum:"whip,whep,rtsp"`
	Stream    string    `json:"stream"`
	Principal string    `json:"principal,omitempty" doc:"Who it belongs to."`
	Since     time.Time `json:"since"`
	Connected bool      `json:"connected" doc:"Media can flow."`
	// Statistics are only told of one session.
	Statistics *Statistics `json:"statistics,omitempty" doc:"Of one session only."`
	ICE        *ICE        `json:"ice,omitempty" doc:"Of one session by WHIP or WHEP only: how the two sides reach each other."`
}

// ICE says how the two sides of a session reach each other, or why they do not.
type ICE struct {
	Words      string   `json:"words" doc:"In one line."`
	Remedy     string   `json:"remedy,omitempty" doc:"What to do about it."`
	Advertised []string `json:"advertised" doc:"Addresses that the other side was told."`
	Offered    []string `json:"offered" doc:"What the other side offered, by kind."`
	Tried      []string `json:"tried" doc:"Pairs of addresses, and how it went."`
}

// Statistics are the totals of a session's connection.
type Statistics struct {
	BytesSent       uint64  `json:"bytesSent"`
	BytesReceived   uint64  `json:"bytesReceived"`
	PacketsSent     uint64  `json:"packetsSent"`
	PacketsReceived uint64  `json:"packetsReceived"`
	RoundTrip       float64 `json:"roundTrip,omitempty" doc:"In seconds."`
	Transport       string  `json:"transport,omitempty" doc:"udp or tcp."`
	Local           string  `json:"local,omitempty" doc:"Kind of our candidate: host, srflx, prflx or relay."`
	Remote          string  `json:"remote,omitempty" doc:"Kind of theirs."`
	// Adaptation is told of viewers that get video.
	Adaptation *Adaptation `json:"adaptation,omitempty" doc:"Of who watches video by WHEP."`
}

// Adaptation says which layer of simulcast a viewer gets, and why.
type Adaptation struct {
	Layer     string `json:"layer,omitempty" doc:"RID of the layer that is sent now; none without simulcast."`
	Automatic bool   `json:"automatic" doc:"False: the viewer chose."`
	Estimate  int    `json:"estimate,omitempty" doc:"What the viewer's network is known to carry, in bit/s; it may carry more."`
	Ups       uint64 `json:"ups" doc:"Changes to a better layer."`
	Downs     uint64 `json:"downs" doc:"Changes to a lesser layer."`
	Probes    uint64 `json:"probes" doc:"Tries whether the network carries a better layer."`
}

// Marker is a date range in all renditions of a stream (EXT-X-DATERANGE).
type Marker struct {
	ID        string     `json:"id" minLength:"1" maxLength:"128" doc:"Names the marker in its stream; the same one again adds to it."`
	Class     string     `json:"class,omitempty" maxLength:"128"`
	Start     *time.Time `json:"start,omitempty" doc:"By default the live edge."`
	End       *time.Time `json:"end,omitempty"`
	Duration  *float64   `json:"duration,omitempty" minimum:"0" maximum:"86400" doc:"In seconds; 0 is an instant."`
	Planned   *float64   `json:"planned,omitempty" minimum:"0" maximum:"86400" doc:"Planned duration, in seconds."`
	SpliceOut []byte     `json:"scte35Out,omitempty" doc:"A whole splice_info_section, in Base64: a break begins."`
	SpliceIn  []byte     `json:"scte35In,omitempty" doc:"A whole splice_info_section, in Base64: the break ends."`
	// Attributes have names that begin with X-.
	Attributes map[string]string `json:"attributes,omitempty" doc:"Client attributes: names are X- and capital letters, digits and hyphens."`
}

// Message is timed metadata: players get it at its moment of the media.
type Message struct {
	Label string     `json:"label" minLength:"1" maxLength:"64" doc:"In ASCII; players tell messages apart by it."`
	Text  string     `json:"text,omitempty" maxLength:"16384"`
	Bytes []byte     `json:"bytes,omitempty" doc:"In Base64, instead of text."`
	At    *time.Time `json:"at,omitempty" doc:"When it is due, at most 30 s from now; by default now."`
}

// Replay is a presentation that can be watched though it has ended, in one place.
type Replay struct {
	Presentation string     `json:"presentation"`
	Place        string     `json:"place"`
	Key          string     `json:"key" doc:"Of its multivariant playlist."`
	At           string     `json:"at" doc:"Where people find that."`
	Begin        time.Time  `json:"begin"`
	End          time.Time  `json:"end"`
	Duration     float64    `json:"duration" doc:"Of media, in seconds."`
	Segments     int        `json:"segments"`
	Gaps         int        `json:"gaps" doc:"Files that are missing."`
	Until        *time.Time `json:"until,omitempty" doc:"When it goes; without it stays."`
}

// Clip is a part of a stream, in one place.
type Clip struct {
	Name     string    `json:"name"`
	Place    string    `json:"place"`
	Key      string    `json:"key" doc:"Of its multivariant playlist."`
	At       string    `json:"at" doc:"Where people find that."`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Start    float64   `json:"start" doc:"How long after begin players start, in seconds."`
	Duration float64   `json:"duration" doc:"Of media, in seconds."`
	Segments int       `json:"segments"`
	Gaps     int       `json:"gaps" doc:"Files that are missing."`
}

// ClipRequest says which clip is wanted.
type ClipRequest struct {
	From  string `json:"from" minLength:"1" maxLength:"64" doc:"A date as of RFC 3339, now, -5m for five minutes ago, or 00:10:00 for ten minutes after the begin of the newest replay." example:"-5m"`
	To    string `json:"to" minLength:"1" maxLength:"64" doc:"As from." example:"now"`
	Name  string `json:"name,omitempty" maxLength:"64" doc:"By default its begin."`
	Place string `json:"place,omitempty" maxLength:"64" doc:"By default all that keep media."`
}

// TokenRequest says which token is wanted.
type TokenRequest struct {
	Actions   []string `json:"actions" nullable:"false" minItems:"1" maxItems:"3" enum:"publish,play,admin"`
	Streams   []string `json:"streams" nullable:"false" minItems:"1" maxItems:"100" doc:"Names; a * at the end stands for any rest."`
	Lifetime  float64  `json:"lifetime,omitempty" minimum:"1" maximum:"31622400" default:"3600" doc:"In seconds; not longer than that of the token which asks."`
	Principal string   `json:"principal,omitempty" maxLength:"128" doc:"Who it is for; tokens of one principal take over each other's streams."`
}

// Token is a new token.
type Token struct {
	Token     string    `json:"token" doc:"It is shown once, and kept nowhere."`
	ID        string    `json:"id" doc:"To revoke it by; no secret."`
	Principal string    `json:"principal"`
	Actions   []string  `json:"actions" nullable:"false"`
	Streams   []string  `json:"streams" nullable:"false"`
	Expires   time.Time `json:"expires"`
}

// RevocationRequest says what is to be taken back. One of the three is needed.
type RevocationRequest struct {
	Token     string `json:"token,omitempty" maxLength:"4096" doc:"A token, its id, or key:NAME."`
	Principal string `json:"principal,omitempty" maxLength:"512" doc:"All that it got until now."`
	Stream    string `json:"stream,omitempty" maxLength:"64" doc:"All tokens that were made until now for this stream."`
}

// Revocation takes back what was granted.
type Revocation struct {
	Token     string    `json:"token,omitempty" doc:"The id of a token."`
	Principal string    `json:"principal,omitempty"`
	Stream    string    `json:"stream,omitempty"`
	At        time.Time `json:"at"`
	Until     time.Time `json:"until" doc:"What it takes back has expired by then."`
}

// Storage is how one storage place does.
type Storage struct {
	Name    string   `json:"name"`
	State   string   `json:"state" enum:"working,behind,down,refused"`
	Error   string   `json:"error,omitempty" doc:"The last one, while it fails or did of late."`
	Failing float64  `json:"failing,omitempty" doc:"How long nothing has got through, in seconds."`
	Files   int      `json:"files" doc:"That wait."`
	Bytes   int64    `json:"bytes" doc:"Of these in memory."`
	Spooled int64    `json:"spooled" doc:"Bytes in the spool."`
	Oldest  float64  `json:"oldest" doc:"Age of the oldest that waits, in seconds."`
	Missing int      `json:"missing" doc:"Files that playlists say are missing."`
	Fenced  []string `json:"fenced" nullable:"false" doc:"What is to be done about streams that are not written, because another gateway does."`
	Spool   string   `json:"spoolError,omitempty" doc:"The last error of the spool, while it fails."`
}

// Setting is one key of the configuration in effect.
type Setting struct {
	Key    string `json:"key" example:"hls.segment"`
	Value  any    `json:"value" doc:"Text as in the file, or groups of keys. Secrets are not shown."`
	Secret bool   `json:"secret,omitempty" doc:"The value is a secret, or has some, which are not shown."`
}

// Event is one thing that happened, as the stream of events has it.
type Event = event.Event
