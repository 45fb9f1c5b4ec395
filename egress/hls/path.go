package hls

import "strings"

// Prefix is where the Handler expects to be mounted.
const Prefix = "/hls/"

// playlistName is the last element of every playlist's path.
const playlistName = "index.m3u8"

// target is what a path asks for.
type target struct {
	key    string // of the Object: the path below Prefix, without a token
	stream string
	// directory is the key of the rendition with its last slash; "" for the
	// multivariant playlist.
	directory string
	playlist  bool // a playlist of either kind; else media
	token     bool // the path has one
}

// parsePath reads the path of a request. It accepts nothing but
//
//	/hls/{stream}/index.m3u8
//	/hls/{stream}/{presentation}/{rendition}/{index.m3u8, *.m4s, *.mp4}
//	/hls/~{token}/… the same
//
// with elements of safe characters (specs X7), so that nothing else ever
// reaches the store. It allocates nothing: all results share path's memory.
func parsePath(path string) (target, bool) {
	key, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return target{}, false
	}
	token := strings.HasPrefix(key, "~") // no name begins so
	if token {
		if _, key, ok = strings.Cut(key, "/"); !ok {
			return target{}, false
		}
	}
	elements, file, start := 0, "", 0
	stream := ""
	for rest, more := key, true; more; elements++ {
		start = len(key) - len(rest)
		file, rest, more = strings.Cut(rest, "/")
		if elements == 4 || !validElement(file) {
			return target{}, false
		}
		if elements == 0 {
			stream = file
		}
	}
	t := target{key: key, stream: stream, token: token, playlist: file == playlistName}
	switch {
	case elements == 2 && t.playlist:
		return t, true
	case elements == 4 && (t.playlist || mediaName(file)):
		t.directory = key[:start]
		return t, true
	}
	return target{}, false
}

func mediaName(file string) bool {
	return strings.HasSuffix(file, ".m4s") || strings.HasSuffix(file, ".mp4")
}

// validElement reports whether an element is [A-Za-z0-9][A-Za-z0-9._-]{0,63},
// the rule for names of streams, which all our names obey.
func validElement(s string) bool {
	if s == "" || len(s) > 64 || !alphanumeric(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// queryToken returns the token of a query if it can stand in a path as it is.
// Tokens are of letters, digits and - . _ ~ + / = (RFC 6750 §2.1); the three last
// ones are not safe there, and such a token keeps to its query.
func queryToken(query string) string {
	for more := query != ""; more; {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		token, ok := strings.CutPrefix(pair, "token=")
		if !ok {
			continue
		}
		if strings.ContainsFunc(token, func(r rune) bool { return r >= 0x80 || !alphanumeric(byte(r)) && !strings.ContainsRune("-._~", r) }) {
			return ""
		}
		return token
	}
	return ""
}
