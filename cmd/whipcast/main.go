// Command whipcast is the gateway, its demo and its test source.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	// The first signal ends the gateway in good order; from then on a second one
	// kills the process, as it does by default.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], stdio{out: os.Stdout, err: os.Stderr}, os.Environ())
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "whipcast:", err)
	}
	os.Exit(exitCode(err))
}
