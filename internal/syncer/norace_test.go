//go:build !race

package syncer

const underRace = false
