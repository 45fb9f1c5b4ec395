package rtc

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pion/sdp/v3"

	"github.com/whipcast/whipcast/internal/problem"
)

// Limits of an offer (specs X15).
const (
	maxBody       = 64 << 10 // bytes of any SDP or fragment
	maxSections   = 8
	maxCandidates = 64  // of one Session, over all fragments
	maxLine       = 512 // bytes of a candidate line
	maxRIDs       = 6
	maxToken      = 64 // bytes of a mid or RID
)

// credentials are the ICE credentials of one generation (RFC 8839 §5.4).
type credentials struct{ ufrag, pwd string }

// valid applies the lengths and the alphabet of RFC 8839 §5.4.
func (c credentials) valid() bool {
	ok := func(s string, least int) bool {
		return len(s) >= least && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool {
			alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
			// libwebrtc also used - and _ for some time.
			return !alnum && !strings.ContainsRune("+/-_=", r)
		})
	}
	return ok(c.ufrag, 4) && ok(c.pwd, 22)
}

func malformed(detail string) error {
	return problem.Problem{Status: http.StatusBadRequest, Title: "Malformed SDP", Detail: detail}
}

func refused(format string, args ...any) error {
	return problem.Problem{Status: http.StatusUnprocessableEntity, Title: "Offer not acceptable", Detail: fmt.Sprintf(format, args...)}
}

// CheckOffer parses and judges an offer. It is pure. The error is a
// problem.Problem: 400 if the body is no SDP, 422 if it asks for what we do not
// do. An Offer is accepted as a whole or not at all (RFC 9725 §4.4.3).
func CheckOffer(body []byte, rules Rules) (*Offer, error) {
	if len(body) == 0 {
		return nil, malformed("the body is empty: send an SDP offer")
	}
	if len(body) > maxBody {
		return nil, malformed("the offer is longer than 64 KiB")
	}
	var desc sdp.SessionDescription
	if !lines(body) || desc.Unmarshal(body) != nil {
		return nil, malformed("the body is not a session description (RFC 8866): it must begin with v=0 and hold one field a line")
	}
	if rules.Codecs == nil {
		rules.Codecs = supported()
	}
	if err := checkSession(&desc); err != nil {
		return nil, err
	}
	offer := &Offer{direction: rules.Direction}
	streams := map[string]bool{}
	for _, media := range desc.MediaDescriptions {
		n, err := checkSection(&desc, media, rules)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(offer.Sections, func(s Section) bool { return s.Kind == n.section.Kind }) {
			return nil, refused("the offer has more than one %s section: send one audio and one video track at most (RFC 9725 §4.4.2)", n.section.Kind)
		}
		n.detach()
		if n.stream != "" {
			streams[n.stream] = true
		}
		offer.Sections = append(offer.Sections, n.section)
		offer.normals = append(offer.normals, n)
	}
	if rules.Direction == Receive && len(streams) > 1 {
		return nil, refused("the tracks belong to different MediaStreams: add both to the same one (RFC 9725 §4.4.2)")
	}
	if err := checkBundle(&desc, offer.Sections); err != nil {
		return nil, err
	}
	offer.bundled = bundle(&desc) != nil
	_, offer.mixed = desc.Attribute(sdp.AttrKeyExtMapAllowMixed)
	_, offer.lite = desc.Attribute(sdp.AttrKeyICELite)
	offer.credentials = offer.normals[0].creds
	for _, n := range offer.normals {
		offer.candidates = append(offer.candidates, n.candidates...)
		offer.heard = hear(offer.heard, n.heard...)
	}
	offer.candidates = offer.candidates[:min(len(offer.candidates), maxCandidates)]
	return offer, nil
}

// lines reports whether body is UTF-8 text of lines. The parser takes a lone CR
// as part of a value, and whoever reads that value after us as the end of a line.
func lines(body []byte) bool {
	for i, c := range body {
		if c == '\r' && (i+1 == len(body) || body[i+1] != '\n') || c < ' ' && c != '\r' && c != '\n' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(body)
}

// ascii reports whether s has no characters but those of ASCII.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e })
}

// String names the kind as in SDP.
func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Messages:
		return "application"
	default:
		return "video"
	}
}

func checkSession(desc *sdp.SessionDescription) error {
	switch n := len(desc.MediaDescriptions); {
	case n == 0:
		return refused("the offer has no media section: send audio, video or both")
	case n > maxSections:
		return refused("the offer has more than %d media sections", maxSections)
	}
	return nil
}

// checkBundle wants media, and one BUNDLE group over all sections (RFC 9725 §4.4.1). Group
// members that do not exist are ignored: FFmpeg names some.
func checkBundle(desc *sdp.SessionDescription, sections []Section) error {
	group := bundle(desc)
	if len(sections) == 1 && sections[0].Kind == Messages {
		return refused("the offer has data channels only: send audio, video or both")
	}
	for i, s := range sections {
		if slices.ContainsFunc(sections[:i], func(o Section) bool { return o.MID == s.MID }) {
			return refused("two media sections have the same a=mid")
		}
		if len(sections) > 1 && !slices.Contains(group, s.MID) {
			return refused("not all media sections are in one BUNDLE group: use the bundle policy max-bundle (RFC 9725 §4.4.1)")
		}
	}
	return nil
}

// bundle returns the members of the BUNDLE group.
func bundle(desc *sdp.SessionDescription) []string {
	for _, a := range desc.Attributes {
		if members := strings.Fields(a.Value); a.Key == sdp.AttrKeyGroup && len(members) > 0 && members[0] == "BUNDLE" {
			return members[1:]
		}
	}
	return nil
}

// normal is a section that was accepted, with what Pion is told of it.
type normal struct {
	section    Section
	spelling   string // of the codec's name in the offer
	rtx        int    // payload type of the retransmission format, 0 if none
	setup      string
	stream     string   // id of the MediaStream, "" if unknown
	layers     []string // RIDs in the order of the offer
	ssrcs      []uint32
	candidates []string
	heard      []string
	extensions []sdp.Attribute
	creds      credentials
	print      string // fingerprint
}

// detach makes all texts its own: a Session keeps them for as long as it lives, and a
// piece of the offer would keep 4 KB of it.
func (n *normal) detach() {
	s := &n.section
	for _, text := range []*string{
		&s.MID, &s.Codec.Name, &s.Codec.Fmtp, &n.spelling, &n.setup, &n.stream, &n.creds.ufrag, &n.creds.pwd, &n.print,
	} {
		*text = strings.Clone(*text)
	}
	for _, texts := range [][]string{s.RIDs, n.layers, n.candidates, n.heard} {
		for i := range texts {
			texts[i] = strings.Clone(texts[i])
		}
	}
	for i := range n.extensions {
		a := &n.extensions[i]
		a.Key, a.Value = strings.Clone(a.Key), strings.Clone(a.Value)
	}
}

// kindOf says what a section carries, if that is accepted.
func kindOf(media *sdp.MediaDescription) (Kind, error) {
	switch media.MediaName.Media {
	case "audio":
		return Audio, nil
	case "video":
		return Video, nil
	case "application":
		return Messages, checkMessages(media)
	default:
		return 0, refused("the offer has a section that is neither audio, video nor data channels: leave it out")
	}
}

func checkSection(desc *sdp.SessionDescription, media *sdp.MediaDescription, rules Rules) (normal, error) {
	kind, err := kindOf(media)
	n := normal{section: Section{Kind: kind}}
	if err != nil {
		return n, err
	}
	n.section.MID, _ = media.Attribute(sdp.AttrKeyMID)
	if !token(n.section.MID) {
		return n, refused("the %s section has no usable a=mid", kind)
	}
	if _, ok := media.Attribute("bundle-only"); media.MediaName.Port.Value == 0 && !ok {
		return n, refused("the %s section is disabled by port 0: leave it out", kind)
	}
	if kind == Messages {
		return n, n.transport(desc, media)
	}
	if !hasAttribute(media, sdp.AttrKeyRTCPMux) {
		return n, refused("the %s section lacks a=rtcp-mux (RFC 9725 §4.4.1)", kind)
	}
	if err := checkDirection(desc, media, rules.Direction); err != nil {
		return n, err
	}
	if err := n.transport(desc, media); err != nil {
		return n, err
	}
	if err := n.codec(media, rules); err != nil {
		return n, err
	}
	n.extensions = extensions(media, rules.Direction)
	n.section.CaptureTime = extensionID(n.extensions, captureTimeURI)
	n.stream = msid(media)
	if rules.Direction == Send {
		n.congestion(media)
		return n, nil
	}
	if err := n.simulcast(media); err != nil {
		return n, err
	}
	if len(n.section.RIDs) == 0 {
		n.ssrcs = ssrcs(media, n.rtx)
	}
	return n, nil
}

// sctpPort is the only port of SCTP, which runs inside DTLS: all WebRTC uses it.
const sctpPort = "5000"

// checkMessages judges a section of data channels (RFC 8841). RFC 9725 and
// draft-ietf-wish-whep say nothing of them.
func checkMessages(media *sdp.MediaDescription) error {
	switch port, ok := media.Attribute("sctp-port"); {
	case !slices.Contains(media.MediaName.Protos, "SCTP") || !slices.Contains(media.MediaName.Protos, "DTLS") ||
		!slices.Equal(media.MediaName.Formats, []string{"webrtc-datachannel"}):
		return refused("the application section is no data channel: offer webrtc-datachannel over DTLS/SCTP (RFC 8841), or leave it out")
	case ok && strings.TrimSpace(port) != sctpPort:
		return refused("the data channels' a=sctp-port must be " + sctpPort)
	}
	return nil
}

// checkDirection obeys RFC 9725 §4.2 and draft-ietf-wish-whep §4.3.5. Without a
// direction a section is sendrecv (RFC 8866 §6.7).
func checkDirection(desc *sdp.SessionDescription, media *sdp.MediaDescription, d Direction) error {
	direction := "sendrecv"
	for _, attributes := range [][]sdp.Attribute{desc.Attributes, media.Attributes} {
		for _, a := range attributes {
			switch a.Key {
			case "sendrecv", "sendonly", "recvonly", "inactive":
				direction = a.Key
			}
		}
	}
	want := "sendonly"
	if d == Send {
		want = "recvonly"
	}
	if direction != want && direction != "sendrecv" {
		return refused("the %s section is %s: offer it %s", media.MediaName.Media, direction, want)
	}
	return nil
}

// transport reads what concerns ICE and DTLS: from the section, else from the
// session.
func (n *normal) transport(desc *sdp.SessionDescription, media *sdp.MediaDescription) error {
	value := func(key string) string {
		if v, ok := media.Attribute(key); ok {
			return v
		}
		v, _ := desc.Attribute(key)
		return v
	}
	n.creds = credentials{value("ice-ufrag"), value("ice-pwd")}
	if !n.creds.valid() {
		return refused("the %s section has no valid a=ice-ufrag and a=ice-pwd (RFC 8839 §5.4)", n.section.Kind)
	}
	n.print = value("fingerprint")
	if len(strings.Fields(n.print)) != 2 || !ascii(n.print) {
		return refused("the %s section has no a=fingerprint: DTLS-SRTP is the only key exchange", n.section.Kind)
	}
	switch n.setup = value(sdp.AttrKeyConnectionSetup); n.setup {
	case "actpass", "active", "passive": // FFmpeg offers passive; RFC 9725 §4.4.4 allows actpass and active
	default:
		return refused("the %s section's a=setup must be actpass, active or passive", n.section.Kind)
	}
	for _, a := range media.Attributes {
		if a.Key == sdp.AttrKeyCandidate && len(n.candidates) < maxCandidates {
			n.heard = hear(n.heard, a.Value)
			if line, ok := usable(a.Value); ok {
				n.candidates = append(n.candidates, line)
			}
		}
	}
	return nil
}

// codec chooses the section's codec. Exactly one is answered, so that what
// arrives is known before it arrives.
func (n *normal) codec(media *sdp.MediaDescription, rules Rules) error {
	kind := n.section.Kind
	wanted := slices.DeleteFunc(slices.Clone(rules.Codecs), func(c Codec) bool { return c.kind() != kind })
	if len(wanted) == 0 { // a viewer asks for a kind that the stream lacks: it stays silent
		wanted = slices.DeleteFunc(supported(), func(c Codec) bool { return c.kind() != kind })
	}
	offered := codecs(media)
	i := choose(offered, wanted)
	if i < 0 {
		return noCodec(n.section.Kind, offered, wanted, rules.Direction)
	}
	c := offered[i]
	n.spelling = c.Name
	for _, w := range wanted {
		if strings.EqualFold(w.Name, c.Name) {
			c.Name = w.Name // our spelling
			if w.Name == "H264" && rules.Direction == Send {
				c.Fmtp = packetized(c.Fmtp, w.Fmtp)
			}
		}
	}
	n.section.Codec = c
	if rules.Direction == Receive {
		for _, o := range offered {
			if strings.EqualFold(o.Name, "rtx") && param(o.Fmtp, "apt", "") == strconv.Itoa(int(c.PayloadType)) {
				n.rtx = int(o.PayloadType)
			}
		}
	}
	f := feedbackOf(media, c.PayloadType)
	n.section.TransportCC, n.section.NACK, n.section.PLI, n.section.FIR = f.transportCC, f.nack, f.pli, f.fir
	return nil
}

// congestion chooses the feedback by which a viewer tells what its network
// carries: of the video alone, which can be less.
func (n *normal) congestion(media *sdp.MediaDescription) {
	s := &n.section
	s.TransportCC = s.TransportCC && s.Kind == Video && len(n.extensions) > 0
	s.REMB = s.Kind == Video && !s.TransportCC && feedbackOf(media, s.Codec.PayloadType).remb
	if !s.TransportCC {
		n.extensions = nil
	}
}

// noCodec says what is accepted, and why the best-known codec is not (specs
// W30, W31).
func noCodec(kind Kind, offered, wanted []Codec, d Direction) error {
	var names []string
	for _, w := range wanted {
		if !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
		}
	}
	accepted := strings.Join(names, ", ")
	if d == Send {
		return refused("the stream's %s is %s, which the offer does not have in that form: offer to receive it", kind, accepted)
	}
	if slices.ContainsFunc(offered, func(c Codec) bool { return strings.EqualFold(c.Name, "VP8") }) {
		return refused("VP8 cannot be put into HLS: no player takes it in fragmented MP4. Offer %s (in a browser: RTCRtpTransceiver.setCodecPreferences)", accepted)
	}
	return refused("the %s section offers no codec that is accepted here: offer %s", kind, accepted)
}

// codecs returns the codecs of a section in the order of its formats.
func codecs(media *sdp.MediaDescription) []Codec {
	maps, params := map[string]string{}, map[string]string{}
	for _, a := range media.Attributes {
		pt, value, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "rtpmap":
			maps[pt] = strings.TrimSpace(value)
		case "fmtp":
			params[pt] = strings.TrimSpace(value)
		}
	}
	var all []Codec
	for _, format := range media.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		parts := strings.Split(maps[format], "/")
		if err != nil || len(parts) < 2 || !ascii(params[format]) {
			continue
		}
		rate, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil {
			continue
		}
		c := Codec{Name: parts[0], ClockRate: uint32(rate), Fmtp: params[format], PayloadType: uint8(pt)}
		switch {
		case len(parts) > 2:
			c.Channels, _ = strconv.Atoi(parts[2])
		case strings.EqualFold(c.Name, opus): // GStreamer leaves it out if its caps do; RFC 7587 §7 knows no other number
			c.Channels = 2
		}
		all = append(all, c)
	}
	return all
}

func feedbackOf(media *sdp.MediaDescription, pt uint8) feedback {
	var f feedback
	for _, a := range media.Attributes {
		target, kind, _ := strings.Cut(a.Value, " ")
		if a.Key != "rtcp-fb" || target != "*" && target != strconv.Itoa(int(pt)) {
			continue
		}
		switch strings.TrimSpace(kind) {
		case "transport-cc":
			f.transportCC = true
		case "nack":
			f.nack = true
		case "nack pli":
			f.pli = true
		case "ccm fir":
			f.fir = true
		case "goog-remb":
			f.remb = true
		}
	}
	return f
}

// extensions keeps the header extensions that are understood. What we send has them in
// the short form alone, whose IDs end with 14 (RFC 8285 §4.2).
func extensions(media *sdp.MediaDescription, d Direction) []sdp.Attribute {
	var kept []sdp.Attribute
	for _, a := range media.Attributes {
		if a.Key != "extmap" {
			continue
		}
		fields := strings.Fields(a.Value)
		if len(fields) < 2 || !slices.Contains(headerExtensions(d), fields[1]) {
			continue
		}
		id, _, _ := strings.Cut(fields[0], "/") // a direction may follow
		if n, err := strconv.ParseUint(id, 10, 8); err == nil && n > 0 && n != 15 && (d == Receive || n < 15) {
			kept = append(kept, sdp.Attribute{Key: "extmap", Value: id + " " + fields[1]})
		}
	}
	return kept
}

// extensionID returns the ID of a header extension, 0 if it is not there.
func extensionID(all []sdp.Attribute, uri string) uint8 {
	for _, a := range all {
		if text, of, _ := strings.Cut(a.Value, " "); of == uri {
			id, _ := strconv.ParseUint(text, 10, 8) // it was read before
			return uint8(id)
		}
	}
	return 0
}

// msid returns the id of the MediaStream, "" if it is not said.
func msid(media *sdp.MediaDescription) string {
	if value, ok := media.Attribute(sdp.AttrKeyMsid); ok {
		id, _, _ := strings.Cut(value, " ")
		return id
	}
	for _, a := range media.Attributes { // GStreamer says it here alone
		if fields := strings.Fields(a.Value); a.Key == sdp.AttrKeySSRC && len(fields) > 1 && strings.HasPrefix(fields[1], "msid:") {
			return fields[1][len("msid:"):]
		}
	}
	return ""
}

// simulcast reads a=simulcast:send (RFC 8853 §5.1). Of alternatives the first
// is kept, and paused layers count: they may be resumed.
func (n *normal) simulcast(media *sdp.MediaDescription) error {
	list := sendList(media)
	if list == "" {
		return nil
	}
	sends := map[string]bool{}
	for _, a := range media.Attributes {
		if f := strings.Fields(a.Value); a.Key == "rid" && len(f) > 1 && f[1] == "send" {
			sends[f[0]] = true
		}
	}
	var rids []string
	for layer := range strings.SplitSeq(list, ";") {
		first, _, _ := strings.Cut(layer, ",")
		rid := strings.TrimPrefix(first, "~")
		if !token(rid) || !sends[rid] || slices.Contains(rids, rid) {
			return refused("a=simulcast names a layer that no a=rid line describes as sent (RFC 8853 §5.1)")
		}
		rids = append(rids, rid)
	}
	if len(rids) > maxRIDs {
		return refused("the offer has more than %d simulcast layers", maxRIDs)
	}
	for _, uri := range []string{sdp.SDESMidURI, sdp.SDESRTPStreamIDURI} {
		if !slices.ContainsFunc(n.extensions, func(a sdp.Attribute) bool { return strings.HasSuffix(a.Value, " "+uri) }) {
			return refused("simulcast needs the header extensions sdes:mid and sdes:rtp-stream-id (RFC 8852)")
		}
	}
	n.layers, n.section.RIDs = rids, bestFirst(rids)
	if slices.ContainsFunc(media.Attributes, func(a sdp.Attribute) bool { return a.Key == sdp.AttrKeySSRCGroup && strings.HasPrefix(a.Value, "FID ") }) {
		// Who names repair flows so may not name them by repaired-rtp-stream-id, as
		// publishers built on Pion: their RTX would be taken for the layer, which was
		// lost for good. Without RTX packets are sent again as they were.
		n.rtx = 0
	}
	return nil
}

// sendList returns the layers of a=simulcast:send, "" without.
func sendList(media *sdp.MediaDescription) string {
	value, _ := media.Attribute("simulcast")
	fields := strings.Fields(value)
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "send" {
			return fields[i+1]
		}
	}
	return ""
}

// ssrcs returns the section's SSRC and, with rtx, that of its retransmissions.
func ssrcs(media *sdp.MediaDescription, rtx int) []uint32 {
	parse := func(s string) (uint32, bool) {
		v, err := strconv.ParseUint(s, 10, 32)
		return uint32(v), err == nil && v != 0
	}
	for _, a := range media.Attributes {
		f := strings.Fields(a.Value)
		if a.Key != sdp.AttrKeySSRCGroup || len(f) != 3 || f[0] != "FID" {
			continue
		}
		primary, ok1 := parse(f[1])
		repair, ok2 := parse(f[2])
		if ok1 && ok2 && rtx != 0 {
			return []uint32{primary, repair}
		}
		if ok1 {
			return []uint32{primary}
		}
	}
	for _, a := range media.Attributes {
		if f := strings.Fields(a.Value); a.Key == sdp.AttrKeySSRC && len(f) > 0 {
			if v, ok := parse(f[0]); ok {
				return []uint32{v}
			}
		}
	}
	return nil
}

func hasAttribute(media *sdp.MediaDescription, key string) bool {
	_, ok := media.Attribute(key)
	return ok
}

// token reports whether s may be a mid or a RID: the letters, digits, - and _
// of RFC 8851 §10, and the few more that mids are seen with.
func token(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool {
		alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !alnum && !strings.ContainsRune("-_.+", r)
	})
}

// passive reports whether the other side insists on being the DTLS server.
func (o *Offer) passive() bool {
	return slices.ContainsFunc(o.normals, func(n normal) bool { return n.setup == "passive" })
}
