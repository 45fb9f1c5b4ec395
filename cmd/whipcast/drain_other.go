//go:build !unix

package main

import "os"

// drainSignal delivers nothing: there is no SIGUSR1.
func drainSignal() (signals <-chan os.Signal, release func()) { return nil, func() {} }
