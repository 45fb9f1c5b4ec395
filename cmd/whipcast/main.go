// Command whipcast is the gateway, its demo and its test source.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// heapGrowth is by how many percent the heap grows before it is collected, unless
// GOGC says so. Most of ours lives as long as a connection or the live window:
// collecting twice as often costs a thousandth of a core and saves a quarter of what
// a viewer takes.
const heapGrowth = 50

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(heapGrowth)
	}
	ctx, stop := untilSignal(context.Background())
	err := run(ctx, os.Args[1:], stdio{out: os.Stdout, err: os.Stderr}, os.Environ())
	if err != nil && !errors.As(err, &told{}) {
		_, _ = fmt.Fprintln(os.Stderr, "whipcast:", err)
	}
	stop()
	os.Exit(exitCode(err))
}

// sameSignal is how long after the first signal others mean the same: timeout(1)
// and some shells send one to the process and one to its group.
const sameSignal = 500 * time.Millisecond

// untilSignal returns a context that the first signal ends, for a stop in good
// order. A later signal kills the process, as it does by default.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	return ctx, stop
}
