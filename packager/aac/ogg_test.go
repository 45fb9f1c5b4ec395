package aac_test

import (
	"os"
	"testing"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name + ".opus")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// packets reads the Opus packets of a file in testdata (RFC 3533, RFC 7845).
func packets(t testing.TB, name string) [][]byte {
	t.Helper()
	file := file(t, name)
	var all [][]byte
	var packet []byte
	for len(file) > 27 {
		lacing := file[27 : 27+int(file[26])]
		file = file[27+len(lacing):]
		for _, n := range lacing {
			packet = append(packet, file[:n]...)
			file = file[n:]
			if n < 255 {
				all = append(all, packet)
				packet = nil
			}
		}
	}
	if len(all) < 3 || string(all[0][:8]) != "OpusHead" {
		t.Fatalf("%s holds %d packets and no Opus header", name, len(all))
	}
	return all[2:]
}

// ticks returns what a packet of one frame lasts (RFC 6716 §3.1).
func ticks(packet []byte) int64 {
	switch config := packet[0] >> 3; {
	case config < 12:
		return []int64{480, 960, 1920, 2880}[config%4]
	case config < 16:
		return []int64{480, 960}[config%2]
	default:
		return []int64{120, 240, 480, 960}[config%4]
	}
}

// silent is a packet of 20 ms of digital silence, stereo.
func silent() []byte { return []byte{0xfc, 0xff, 0xfe} }
