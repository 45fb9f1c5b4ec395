package hlscheck

import (
	"path"
	"slices"
	"strings"
)

// Multivariant takes a multivariant playlist and returns the paths of the media
// playlists it names, variants first. Checked are L6, L11 to L14, L74 to L78 as
// far as they can be told from the text.
func (c *Checker) Multivariant(uri string, body []byte) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &multivariant{parser: parser{fault: c.fault(uri, 1)}, groups: make(map[string][]map[string]string)}
	for _, line := range checkText(body, m.fault) {
		m.line(line)
	}
	m.finish()
	if c.audio == nil {
		c.audio = make(map[string]bool)
	}
	for _, u := range m.media {
		c.audio[path.Join(path.Dir(uri), u)] = true
	}
	var found []string
	for _, u := range m.uris {
		if full := path.Join(path.Dir(uri), u); !slices.Contains(found, full) {
			found = append(found, full)
		}
	}
	return found
}

type multivariant struct {
	parser

	pending     map[string]string // attributes of the last EXT-X-STREAM-INF
	variants    []map[string]string
	groups      map[string][]map[string]string // audio group → its members
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
		}
		m.pending = nil
		m.uris = append(m.uris, line)
	case name == "EXT-X-STREAM-INF":
		m.pending = m.attributes(name, value)
		m.variants = append(m.variants, m.pending)
	case name == "EXT-X-MEDIA":
		a := m.attributes(name, value)
		if a["TYPE"] == "AUDIO" {
			group := m.quoted(a, "GROUP-ID")
			m.groups[group] = append(m.groups[group], a)
		}
		if a["URI"] != "" {
			m.media = append(m.media, m.quoted(a, "URI"))
		}
		m.quoted(a, "NAME")
	case name == "EXT-X-INDEPENDENT-SEGMENTS":
		m.independent++
	case slices.Contains([]string{
		"EXT-X-TARGETDURATION", "EXTINF", "EXT-X-PART", "EXT-X-MAP", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL", "EXT-X-PART-INF",
	}, name):
		m.fault("L13", "%s in a multivariant playlist", name)
	}
}

func (m *multivariant) finish() {
	m.uris = append(m.uris, m.media...)
	if m.independent != 1 {
		m.fault("L6", "EXT-X-INDEPENDENT-SEGMENTS stands %d times", m.independent)
	}
	if len(m.variants) == 0 {
		m.fault("L75", "no variant")
	}
	for _, v := range m.variants {
		m.variant(v)
	}
	for group, members := range m.groups {
		defaults, names := 0, make(map[string]bool)
		for _, a := range members {
			if a["DEFAULT"] == "YES" {
				defaults++
			}
			if names[a["NAME"]] {
				m.fault("L78", "NAME %s twice in group %s", a["NAME"], group)
			}
			names[a["NAME"]] = true
			if a["CHANNELS"] == "" {
				m.fault("L78", "no CHANNELS in group %s", group)
			}
		}
		if defaults > 1 {
			m.fault("L78", "%d defaults in group %s", defaults, group)
		}
	}
}

func (m *multivariant) variant(v map[string]string) {
	bandwidth := m.integer("BANDWIDTH", v["BANDWIDTH"])
	if v["AVERAGE-BANDWIDTH"] == "" {
		m.fault("L74", "no AVERAGE-BANDWIDTH")
	} else if m.integer("AVERAGE-BANDWIDTH", v["AVERAGE-BANDWIDTH"]) > bandwidth {
		m.fault("L74", "AVERAGE-BANDWIDTH above BANDWIDTH")
	}
	codecs := m.quoted(v, "CODECS")
	video := strings.Contains(codecs, "avc1") || strings.Contains(codecs, "hvc1") || strings.Contains(codecs, "av01") || strings.Contains(codecs, "vp09")
	if video && (v["RESOLUTION"] == "" || v["FRAME-RATE"] == "") {
		m.fault("L76", "video variant without RESOLUTION or FRAME-RATE")
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
