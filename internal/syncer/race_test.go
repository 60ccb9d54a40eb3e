//go:build race

package syncer

// underRace is set when the race detector makes everything ten times as slow.
const underRace = true
