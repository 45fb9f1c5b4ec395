package s3_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/s3"
)

// swallow is a store that takes every PUT and keeps nothing: it costs as little as
// a server can.
func swallow(b *testing.B) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var (
		mu   sync.Mutex
		open []net.Conn
		all  sync.WaitGroup
	)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() { take(c) })
		}
	})
	b.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// take answers requests until the connection ends.
func take(c net.Conn) {
	in := bufio.NewReaderSize(c, 64<<10)
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case len(line) > 16 && strings.EqualFold(string(line[:15]), "content-length:"):
			length, _ = strconv.Atoi(strings.TrimSpace(string(line[15:])))
		case len(line) == 2: // the end of the header
			if _, err := in.Discard(length); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
			length = 0
		}
	}
}

// spent returns the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPut is what a PUT costs over loopback, with the server's reading: a
// playlist, and segments of two seconds at 0.5 and 6 Mb/s; one after the other, and
// as many at once as there are cores, four times over.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{2_000, 125_000, 1_500_000} {
		for _, at := range []int{1, 4} {
			b.Run(fmt.Sprintf("%d bytes, %d a core", size, at), func(b *testing.B) {
				sink, err := s3.Open(b.Context(), s3.Config{
					Endpoint: swallow(b), Region: region, Bucket: bucket, PathStyle: true, AccessKey: accessKey, SecretKey: secretKey,
				})
				if err != nil {
					b.Fatal(err)
				}
				o := segment("a/s1")
				o.Body = storage.Body{make([]byte, size/2), make([]byte, size/2)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.SetParallelism(at)
				began := spent()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := sink.Put(b.Context(), o); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "PUTs/s")
				b.ReportMetric(float64((spent()-began).Microseconds())/float64(b.N), "cpu-µs/PUT")
			})
		}
	}
}
