package whep

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// eventKind is a type of event that viewers are sent (draft-ietf-wish-whep
// §4.10.1, specs E29–E32). warning is ours.
type eventKind uint8

const (
	eventActive eventKind = iota
	eventInactive
	eventLayers
	eventReconnect
	eventViewerCount
	eventWarning
	eventKinds
)

// maxEventNames is how many names a body may list.
const maxEventNames = 64

func (k eventKind) String() string {
	return [eventKinds]string{"active", "inactive", "layers", "reconnect", "viewercount", "warning"}[k]
}

// eventNames lists all kinds as the Link header does (specs E24).
func eventNames() string {
	var names []string
	for k := range eventKinds {
		names = append(names, k.String())
	}
	return strings.Join(names, ",")
}

// eventSet is a set of eventKinds.
type eventSet uint8

const allEvents eventSet = 1<<eventKinds - 1

func (s eventSet) has(k eventKind) bool { return s&(1<<k) != 0 }

// parseEvents reads the body of a POST that makes an event stream: an array of names;
// empty means all (specs E25, E26). The error is a problem.Problem.
func parseEvents(body []byte) (eventSet, error) {
	if len(strings.TrimSpace(string(body))) == 0 {
		return allEvents, nil
	}
	refuse := func(detail string) (eventSet, error) {
		return 0, problem.Problem{Status: http.StatusBadRequest, Title: "Unknown events", Detail: detail}
	}
	var names []*string
	if err := json.Unmarshal(body, &names); err != nil || len(names) == 0 || len(names) > maxEventNames {
		return refuse(`send a JSON array of names, such as ["active","inactive"], or no body for all events`)
	}
	var set eventSet
	for _, name := range names {
		k, ok := eventNamed(name)
		if !ok {
			return refuse("a name is none of those that the Link header lists: " + eventNames())
		}
		set |= 1 << k
	}
	return set, nil
}

// eventNamed returns the kind of a name.
func eventNamed(name *string) (eventKind, bool) {
	for k := range eventKinds {
		if name != nil && *name == k.String() {
			return k, true
		}
	}
	return 0, false
}

// render writes an event as it is sent: one line of data (specs E27).
func render(k eventKind, data string) []byte {
	return []byte("event: " + k.String() + "\ndata: " + data + "\n\n")
}

// reconnectData is the data of a reconnect event; url may be empty (specs E31).
func reconnectData(url string) string {
	if url == "" {
		return "{}"
	}
	return encode(struct {
		URL string `json:"url"`
	}{url})
}

func viewerCountData(n int) string { return `{"viewercount":` + strconv.Itoa(n) + `}` }

// warning is what a viewer should know of the stream that it watches.
type warning struct {
	Code   string `json:"code"` // for programs
	Detail string `json:"detail"`
}

// The warnings. Their codes are never changed.
func bFrames() warning {
	return warning{"b-frames", "the publisher sends B-frames, which browsers show in the wrong order or not at all in real time: watch it by HLS, or set B-frames to 0 in the encoder"}
}

func aacSound() warning {
	return warning{"aac", "the publisher's sound is AAC, which WebRTC does not have: watch it by HLS, or let the publisher send Opus"}
}

// warnings lists what is wrong with what is published, for who watches in real time (specs E23).
func warnings(sources []*stream.Source) []warning {
	var all []warning
	if video := first(sources, stream.Video); video != nil && video.Reordered() {
		all = append(all, bFrames())
	}
	if audio := first(sources, stream.Audio); audio != nil && !realTime(audio) {
		all = append(all, aacSound())
	}
	return all
}

// layersData is the data of a layers event for a viewer whose video is the section of
// that index; none without video (specs E30).
func layersData(section int, layers []Layer) string {
	type layer struct {
		RID     string `json:"rid,omitempty"`
		Spatial *int   `json:"spatialLayerId,omitempty"`
		Bitrate int    `json:"bitrate,omitempty"`
		Width   int    `json:"width,omitempty"`
		Height  int    `json:"height,omitempty"`
	}
	all := make([]layer, len(layers))
	for i, l := range layers {
		all[i] = layer{RID: l.RID, Bitrate: l.Bitrate, Width: l.Width, Height: l.Height}
		if l.RID == "" { // one of the three ids must be there
			all[i].Spatial = new(int)
		}
	}
	if section < 0 {
		return "{}"
	}
	return encode(map[string][]layer{strconv.Itoa(section): all})
}

// encode returns v as JSON in one line. It is for the types of this file, which always
// have a form.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// differ reports whether viewers should be told of the layers anew: one has come,
// gone, begun or stopped, its size is another, or its bit rate by a quarter.
func differ(told, now []Layer) bool {
	if len(told) != len(now) {
		return true
	}
	for i, l := range now {
		was := told[i]
		moved := math.Abs(float64(l.Bitrate-was.Bitrate)) > float64(was.Bitrate)/4
		was.Bitrate, l.Bitrate = 0, 0
		if moved || was != l {
			return true
		}
	}
	return false
}
