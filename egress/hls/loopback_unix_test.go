//go:build unix

package hls_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

// BenchmarkLoopback is a request over a kept connection, by a client that does
// next to nothing. CPU time is that of the whole process, client and kernel
// included: the server's share is less.
func BenchmarkLoopback(b *testing.B) {
	for name, path := range map[string]string{
		"playlist": live + "?_HLS_msn=99&_HLS_part=1",
		"part":     "/hls/" + directory + "p0000000500.m4s",
	} {
		b.Run(name, func(b *testing.B) {
			store := memory.New(memory.Config{})
			put(b, store, minute(100, 2))
			put(b, store, media("p0000000500.m4s", storage.Part, strings.Repeat("x", 62_500)))
			server := httptest.NewServer(hls.New(hls.Config{}, store))
			defer server.Close()
			var dialer net.Dialer
			conn, err := dialer.DialContext(b.Context(), "tcp", server.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			question := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: origin\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"+
				"Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nOrigin: https://a.example\r\n\r\n", path)
			replies := bufio.NewReaderSize(conn, 1<<17)
			ask := func() int64 {
				if _, err := conn.Write(question); err != nil {
					b.Fatal(err)
				}
				return skipResponse(b, replies)
			}
			ask()
			before := cpuTime(b)
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// skipResponse reads one response by its Content-Length.
func skipResponse(b *testing.B, from *bufio.Reader) int64 {
	var length int64
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if len(line) <= 2 {
			break
		}
		if name := "Content-Length"; len(line) > len(name) && string(line[:len(name)]) == name {
			for _, c := range line[len(name)+2 : len(line)-2] {
				length = 10*length + int64(c-'0')
			}
		}
	}
	if n, err := io.CopyN(io.Discard, from, length); err != nil {
		b.Fatal(n, err)
	}
	return length
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
