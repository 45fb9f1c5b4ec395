//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// drainSignal delivers SIGUSR1 until release is called.
func drainSignal() (signals <-chan os.Signal, release func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}
