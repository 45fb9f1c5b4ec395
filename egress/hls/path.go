package hls

import "strings"

// Prefix is where the Handler expects to be mounted.
const Prefix = "/hls/"

// playlistName is the last element of every playlist's path.
const playlistName = "index.m3u8"

// target is what a path asks for.
type target struct {
	key    string // of the Object: the path below Prefix
	stream string
	// directory is the key of the rendition with its last slash; "" for the
	// multivariant playlist.
	directory string
	playlist  bool // a playlist of either kind; else media
}

// parsePath reads the path of a request. It accepts nothing but
//
//	/hls/{stream}/index.m3u8
//	/hls/{stream}/{presentation}/{rendition}/{index.m3u8, *.m4s, *.mp4}
//
// with elements of safe characters (specs X7), so that nothing else ever
// reaches the store. It allocates nothing: all results share path's memory.
func parsePath(path string) (target, bool) {
	key, ok := strings.CutPrefix(path, Prefix)
	if !ok {
		return target{}, false
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
	t := target{key: key, stream: stream, playlist: file == playlistName}
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
