//go:build !race

package whep_test

const raced = false // the race detector is on
