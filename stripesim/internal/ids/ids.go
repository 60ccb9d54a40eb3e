// Package ids draws ids like Stripe's, and the random choices of a seed.
package ids

import "math/rand/v2"

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// New returns a random id such as cus_Nf3a… from a seeded source.
func New(rng *rand.Rand, prefix string, n int) string {
	b := make([]byte, len(prefix)+n)
	copy(b, prefix)
	var bits uint64
	for i := range n {
		if i%10 == 0 {
			bits = rng.Uint64()
		}
		b[len(prefix)+i] = base62[bits%62]
		bits /= 62
	}
	return string(b)
}

// Hash is FNV-1a. It ties a random choice to names, so that the choice does not depend on the
// order in which goroutines draw.
func Hash(seed uint64, parts ...string) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h
}

// Chance returns a random source that depends only on the seed and the names.
func Chance(seed uint64, parts ...string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, Hash(seed, parts...)))
}
