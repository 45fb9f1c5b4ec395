package hlscheck

import (
	"cmp"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// attributes are those of one tag of a multivariant playlist.
type attributes = map[string]string

// Multivariant takes one version of a multivariant playlist and returns the paths
// of the media playlists it names, variants first. Checked are L6, L11 to L14,
// L74 to L79 as far as they can be told from the text; CheckFiles compares the
// newest version with the media.
func (c *Checker) Multivariant(uri string, body []byte) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shows == nil {
		c.shows, c.audio, c.versions = make(map[string]*show), make(map[string]bool), make(map[string]int)
	}
	c.versions[uri]++
	m := &multivariant{
		parser: parser{fault: c.fault(uri, c.versions[uri])},
		show:   &show{uri: uri, version: c.versions[uri], groups: make(map[string][]attributes)},
	}
	for _, line := range checkText(body, m.fault) {
		m.line(line)
	}
	m.finish()
	full := func(u string) string { return path.Join(path.Dir(uri), u) }
	for _, v := range m.variants {
		v["URI"] = full(v["URI"])
		if !videoFormat(v["CODECS"]) {
			c.audio[v["URI"]] = true
		}
	}
	for _, members := range m.groups {
		for _, a := range members {
			if a["URI"] != "" {
				a["URI"] = full(a["URI"])
				c.audio[a["URI"]] = true
			}
		}
	}
	for _, u := range append(m.uris, m.media...) {
		if u = full(u); !m.names(u) {
			m.renditions = append(m.renditions, u)
		}
	}
	for _, u := range m.renditions {
		c.shows[presentation(u)] = m.show
	}
	return slices.Clone(m.renditions)
}

// show is a presentation as the newest multivariant playlist has it.
type show struct {
	uri        string
	version    int
	variants   []attributes            // of EXT-X-STREAM-INF, with URI
	groups     map[string][]attributes // audio group → its members
	order      []string                // of the groups
	renditions []string
}

func (s *show) names(uri string) bool { return slices.Contains(s.renditions, uri) }

// audioOf returns the playlists of the audio that a variant is played with.
func (s *show) audioOf(variant attributes) []string {
	var uris []string
	for _, a := range s.groups[variant["AUDIO"]] {
		if a["URI"] != "" {
			uris = append(uris, a["URI"])
		}
	}
	return uris
}

type multivariant struct {
	parser
	*show

	pending     attributes // of the last EXT-X-STREAM-INF
	uris        []string
	media       []string
	independent int
}

func (m *multivariant) line(line string) {
	name, value, _ := strings.Cut(strings.TrimPrefix(line, "#"), ":")
	switch {
	case line == "":
	case !strings.HasPrefix(line, "#"):
		if m.pending == nil {
			m.fault("L12", "URI %q without EXT-X-STREAM-INF", line)
		} else {
			m.pending["URI"] = line
		}
		m.pending = nil
		m.uris = append(m.uris, line)
	case m.pending != nil:
		m.fault("L12", "%q between EXT-X-STREAM-INF and its URI", line)
	case name == "EXT-X-STREAM-INF":
		m.pending = m.attributes(name, value)
		m.variants = append(m.variants, m.pending)
	case name == "EXT-X-MEDIA":
		m.rendition(m.attributes(name, value))
	case name == "EXT-X-INDEPENDENT-SEGMENTS":
		m.independent++
	case slices.Contains([]string{
		"EXT-X-TARGETDURATION", "EXTINF", "EXT-X-PART", "EXT-X-MAP", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL", "EXT-X-PART-INF",
	}, name):
		m.fault("L13", "%s in a multivariant playlist", name)
	}
}

// rendition takes the attributes of an EXT-X-MEDIA.
func (m *multivariant) rendition(a attributes) {
	m.quoted(a, "NAME")
	if a["URI"] != "" {
		m.media = append(m.media, m.quoted(a, "URI"))
	}
	if a["TYPE"] != "AUDIO" {
		return
	}
	group := m.quoted(a, "GROUP-ID")
	if m.groups[group] == nil {
		m.order = append(m.order, group)
	}
	m.groups[group] = append(m.groups[group], a)
	for _, name := range []string{"DEFAULT", "AUTOSELECT"} {
		if v, ok := a[name]; ok && v != "YES" && v != "NO" {
			m.fault("L78", "%s=%s in group %s", name, v, group)
		}
	}
	if a["DEFAULT"] == "YES" && a["AUTOSELECT"] == "NO" {
		m.fault("L78", "DEFAULT=YES with AUTOSELECT=NO in group %s", group)
	}
	if a["FORCED"] != "" || a["INSTREAM-ID"] != "" {
		m.fault("L78", "FORCED or INSTREAM-ID of audio in group %s", group)
	}
	m.channels(group, a)
}

// channels checks that a member says how many there are.
func (m *multivariant) channels(group string, a attributes) {
	if channels, _, _ := strings.Cut(strings.Trim(a["CHANNELS"], `"`), "/"); a["CHANNELS"] == "" {
		m.fault("L78", "no CHANNELS in group %s", group)
	} else if n, err := strconv.Atoi(channels); err != nil || n < 1 || a["CHANNELS"][0] != '"' {
		m.fault("L78", "CHANNELS=%s in group %s", a["CHANNELS"], group)
	}
}

func (m *multivariant) finish() {
	if m.pending != nil {
		m.fault("L12", "EXT-X-STREAM-INF without URI")
	}
	if m.independent != 1 {
		m.fault("L6", "EXT-X-INDEPENDENT-SEGMENTS stands %d times", m.independent)
	}
	if len(m.variants) == 0 {
		m.fault("L75", "no variant")
	}
	for _, v := range m.variants {
		m.variant(v)
	}
	m.together()
	for _, group := range m.order {
		m.group(group)
		if !slices.ContainsFunc(m.variants, func(v attributes) bool { return v["AUDIO"] == group }) {
			m.fault("L78", "no variant has group %s", group)
		}
	}
}

// group checks one audio group by itself and against the first: L78.
func (m *multivariant) group(group string) {
	defaults, names, selectable := 0, make(map[string]bool), make(map[string]bool)
	for _, a := range m.groups[group] {
		if a["DEFAULT"] == "YES" {
			defaults++
		}
		if names[a["NAME"]] {
			m.fault("L78", "NAME %s twice in group %s", a["NAME"], group)
		}
		names[a["NAME"]] = true
		key := a["LANGUAGE"] + a["ASSOC-LANGUAGE"] + a["CHARACTERISTICS"]
		if a["AUTOSELECT"] == "YES" && selectable[key] {
			m.fault("L78", "nothing tells the AUTOSELECT members of group %s apart", group)
		}
		selectable[key] = selectable[key] || a["AUTOSELECT"] == "YES"
	}
	if defaults > 1 {
		m.fault("L78", "%d defaults in group %s", defaults, group)
	}
	if first := m.groups[m.order[0]]; !maps.EqualFunc(members(first), members(m.groups[group]), maps.Equal) {
		m.fault("L78", "groups %s and %s have different members: %v and %v",
			m.order[0], group, members(first), members(m.groups[group]))
	}
}

// members returns what must be the same in all groups (§4.4.6.1.1), by NAME.
func members(group []attributes) map[string]attributes {
	all := make(map[string]attributes)
	for _, a := range group {
		same := maps.Clone(a)
		for _, name := range []string{"GROUP-ID", "URI", "CHANNELS", "BIT-DEPTH", "STABLE-RENDITION-ID", "INSTREAM-ID", "SAMPLE-RATE"} {
			delete(same, name)
		}
		for _, name := range []string{"DEFAULT", "AUTOSELECT"} {
			if same[name] == "NO" { // as if it were not there
				delete(same, name)
			}
		}
		all[a["NAME"]] = same
	}
	return all
}

func videoFormat(codecs string) bool {
	return slices.ContainsFunc([]string{"avc", "hvc1", "hev1", "av01", "vp09"}, func(s string) bool { return strings.Contains(codecs, s) })
}

// variant checks one EXT-X-STREAM-INF: L74 to L76, L78.
func (m *multivariant) variant(v attributes) {
	bandwidth := m.integer("BANDWIDTH", v["BANDWIDTH"])
	if v["AVERAGE-BANDWIDTH"] == "" {
		m.fault("L74", "no AVERAGE-BANDWIDTH")
	} else if m.integer("AVERAGE-BANDWIDTH", v["AVERAGE-BANDWIDTH"]) > bandwidth {
		m.fault("L74", "AVERAGE-BANDWIDTH above BANDWIDTH")
	}
	codecs := m.quoted(v, "CODECS")
	if videoFormat(codecs) {
		m.pictures(v)
	}
	if r := v["VIDEO-RANGE"]; r != "" && r != "SDR" && r != "HLG" && r != "PQ" {
		m.fault("L76", "VIDEO-RANGE=%s", r)
	}
	if v["AUDIO"] != "" {
		if group := m.quoted(v, "AUDIO"); m.groups[group] == nil {
			m.fault("L78", "no audio group %s", group)
		}
		if !strings.Contains(codecs, "Opus") && !strings.Contains(codecs, "mp4a") {
			m.fault("L75", "CODECS %s without the audio's", codecs)
		}
	}
}

// pictures checks RESOLUTION and FRAME-RATE: L76.
func (m *multivariant) pictures(v attributes) {
	if v["RESOLUTION"] == "" || v["FRAME-RATE"] == "" {
		m.fault("L76", "video variant without RESOLUTION or FRAME-RATE")
		return
	}
	if w, h := resolution(v); w <= 0 || h <= 0 {
		m.fault("L76", "RESOLUTION=%s", v["RESOLUTION"])
	}
	if !regexp.MustCompile(`^[0-9]+\.[0-9]{3}$`).MatchString(v["FRAME-RATE"]) {
		m.fault("L76", "FRAME-RATE=%s has not 3 decimals", v["FRAME-RATE"])
	}
}

func resolution(v attributes) (width, height int) {
	w, h, _ := strings.Cut(v["RESOLUTION"], "x")
	width, err1 := strconv.Atoi(w)
	height, err2 := strconv.Atoi(h)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return width, height
}

// together checks what variants must have in common: L76 to L79.
func (m *multivariant) together() {
	scores, aac := 0, -1
	for i, v := range m.variants {
		if v["SCORE"] != "" {
			scores++
			if m.float("L76", v["SCORE"]) < 0 {
				m.fault("L76", "SCORE=%s", v["SCORE"])
			}
		}
		if aac < 0 && strings.Contains(v["CODECS"], "mp4a") {
			aac = i
		}
		for _, other := range m.variants[:i] {
			m.pair(other, v)
		}
	}
	if scores != 0 && scores != len(m.variants) {
		m.fault("L76", "SCORE on %d of %d variants", scores, len(m.variants))
	}
	if aac > 0 {
		m.fault("L79", "the first variant has no AAC, another one has")
	}
}

// pair compares two variants.
func (m *multivariant) pair(a, b attributes) {
	if a["URI"] == b["URI"] && a["AUDIO"] == b["AUDIO"] {
		m.fault("L78", "variant %s twice with audio %q", a["URI"], a["AUDIO"])
	}
	pictures := videoFormat(a["CODECS"]) && videoFormat(b["CODECS"])
	if pictures && (a["AUDIO"] == "") != (b["AUDIO"] == "") {
		m.fault("L90", "variants %s and %s: one has audio, the other has not", a["URI"], b["URI"])
	}
	wa, ha := resolution(a)
	wb, hb := resolution(b)
	if wa <= 0 || ha <= 0 || wb <= 0 || hb <= 0 {
		return
	}
	if ratio := float64(wa) * float64(hb) / (float64(ha) * float64(wb)); math.Abs(ratio-1) > 0.02 {
		m.fault("L77", "aspect ratios of %s and %s differ", a["RESOLUTION"], b["RESOLUTION"])
	}
	sa, err1 := strconv.ParseFloat(a["SCORE"], 64)
	sb, err2 := strconv.ParseFloat(b["SCORE"], 64)
	scored := err1 == nil && err2 == nil && a["AUDIO"] == b["AUDIO"]
	if more := cmp.Compare(wa*ha, wb*hb); scored && more*cmp.Compare(sa, sb) < 0 {
		m.fault("L76", "%s has SCORE %s, %s has %s", a["RESOLUTION"], a["SCORE"], b["RESOLUTION"], b["SCORE"])
	}
}
