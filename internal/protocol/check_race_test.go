//go:build race

package protocol

// underRace: the race detector makes everything ten times as slow, and in an exploration only one
// goroutine runs at a time anyway.
const underRace = true
