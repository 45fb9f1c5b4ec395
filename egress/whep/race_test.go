//go:build race

package whep_test

const raced = true // the race detector is on
