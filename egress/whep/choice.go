package whep

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
)

// maxSide is the longest side of a picture that a Choice may name.
const maxSide = 1 << 16

// Choice is what a viewer wishes to see by the layer selection extension
// (draft-ietf-wish-whep §4.10.2, specs E36). The zero value leaves everything to
// the gateway. It is immutable.
type Choice struct {
	// MediaID is the media section meant: its index in the answer or its mid;
	// empty: the video.
	MediaID string
	// RID names the one layer that the viewer wants, whatever its network can
	// carry; empty: automatic.
	RID string
	// MaxWidth and MaxHeight bound the picture in pixels; 0: no bound. The
	// smallest layer is always within them.
	MaxWidth, MaxHeight int

	spatial, temporal int // layer ids that were named, -1 without
}

// Layer is one encoding of a Stream's video, as viewers are told of it.
type Layer struct {
	RID           string // empty without simulcast
	Width, Height int    // pixels; 0: not known
	Bitrate       int    // bits a second that come; 0: nothing does
}

// Automatic reports whether nothing is wished for.
func (c Choice) Automatic() bool { return c.RID == "" && c.MaxWidth == 0 && c.MaxHeight == 0 }

// Allows returns those of the layers, which are in the order of their quality,
// best first, that the viewer may be sent: the one of its RID; else those within
// its bounds, or the last one. A RID that is not among them is no wish any more:
// the publisher has changed. The result is empty only without layers. It is pure.
func (c Choice) Allows(layers []Layer) []Layer {
	if c.RID != "" {
		if i := slices.IndexFunc(layers, func(l Layer) bool { return l.RID == c.RID }); i >= 0 {
			return layers[i : i+1]
		}
	}
	var within []Layer
	for _, l := range layers {
		if (c.MaxWidth == 0 || l.Width <= c.MaxWidth) && (c.MaxHeight == 0 || l.Height <= c.MaxHeight) {
			within = append(within, l)
		}
	}
	if len(within) == 0 && len(layers) > 0 {
		return layers[len(layers)-1:]
	}
	return within
}

// ParseChoice reads the body of a POST (specs E36, E37): keys that it does not know
// mean nothing. The error is a problem.Problem.
func ParseChoice(body []byte) (Choice, error) {
	var wish struct {
		MediaID    mediaID `json:"mediaId"`
		RID        string  `json:"rid"`
		EncodingID string  `json:"encodingId"` // the older name of rid
		MaxWidth   *int    `json:"maxWidth"`
		MaxHeight  *int    `json:"maxHeight"`
		Spatial    *int    `json:"spatialLayerId"`
		Temporal   *int    `json:"temporalLayerId"`
		// All layers of ours have the ids 0, which no bound leaves out.
		MaxSpatial  *int `json:"maxSpatialLayerId"`
		MaxTemporal *int `json:"maxTemporalLayerId"`
	}
	if err := json.Unmarshal(body, &wish); err != nil || !strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{") {
		return Choice{}, problem.Problem{
			Status: http.StatusBadRequest, Title: "Malformed layer selection",
			Detail: `send a JSON object, such as {"rid": "h"}, or {} for the automatic selection`,
		}
	}
	c := Choice{MediaID: string(wish.MediaID), RID: wish.RID, spatial: -1, temporal: -1}
	if c.RID == "" {
		c.RID = wish.EncodingID
	}
	for _, n := range []struct {
		value *int
		into  *int
		least int
	}{
		{wish.MaxWidth, &c.MaxWidth, 1},
		{wish.MaxHeight, &c.MaxHeight, 1},
		{wish.Spatial, &c.spatial, 0},
		{wish.Temporal, &c.temporal, 0},
		{wish.MaxSpatial, nil, 0},
		{wish.MaxTemporal, nil, 0},
	} {
		switch {
		case n.value == nil:
		case *n.value < n.least || *n.value > maxSide:
			return Choice{}, problem.Problem{
				Status: http.StatusUnprocessableEntity, Title: "Layer cannot be selected",
				Detail: "a width or height is no length in pixels, or a layer's id is negative",
			}
		case n.into != nil:
			*n.into = *n.value
		}
	}
	return c, nil
}

// mediaID is a string that some send as a number.
type mediaID string

func (m *mediaID) UnmarshalJSON(b []byte) error {
	if n, err := strconv.ParseUint(string(b), 10, 8); err == nil {
		*m = mediaID(strconv.FormatUint(n, 10))
		return nil
	}
	return json.Unmarshal(b, (*string)(m))
}

// check says why a Choice cannot be followed in a viewer's sections; nil if it can
// (specs E36, E37). layers are those of the publisher. It is pure.
func (c Choice) check(sections []rtc.Section, layers []Layer) error {
	refuse := func(status int, detail string) error {
		return problem.Problem{Status: status, Title: "Layer cannot be selected", Detail: detail}
	}
	i := slices.IndexFunc(sections, func(s rtc.Section) bool { return s.Kind == rtc.Video })
	if c.MediaID != "" {
		i = section(sections, c.MediaID)
	}
	switch {
	case i < 0:
		return refuse(http.StatusNotFound, "your session has no such media section")
	case sections[i].Kind != rtc.Video:
		return refuse(http.StatusUnprocessableEntity, "the media section is not the video: only video has layers")
	case c.spatial > 0 || c.temporal > 0:
		return refuse(http.StatusNotFound, "there is no such spatial or temporal layer: choose by rid")
	case c.RID != "" && !slices.ContainsFunc(layers, func(l Layer) bool { return l.RID == c.RID }):
		return refuse(http.StatusNotFound, "the stream has no layer of this rid: the layers event lists those that there are")
	}
	return nil
}

// section finds a section by its index in the session description, else by its mid.
func section(sections []rtc.Section, id string) int {
	if n, err := strconv.ParseUint(id, 10, 8); err == nil && n < uint64(len(sections)) {
		return int(n)
	}
	return slices.IndexFunc(sections, func(s rtc.Section) bool { return s.MID == id })
}

// wish holds the present Choice of a viewer. The zero value holds the automatic
// one; any goroutine may use it.
type wish struct {
	now atomic.Pointer[chosen]
}

// chosen is one Choice, and which one it is of its viewer.
type chosen struct {
	choice  Choice
	version uint64
}

// set replaces the Choice.
func (w *wish) set(c Choice) {
	for {
		old := w.now.Load()
		next := &chosen{choice: c, version: 1}
		if old != nil {
			next.version = old.version + 1
		}
		if w.now.CompareAndSwap(old, next) {
			return
		}
	}
}

// get returns the present Choice and its version, which rises by each set.
// It costs one load and allocates nothing: a worker may ask for each batch.
func (w *wish) get() (Choice, uint64) {
	if now := w.now.Load(); now != nil {
		return now.choice, now.version
	}
	return Choice{}, 0
}
