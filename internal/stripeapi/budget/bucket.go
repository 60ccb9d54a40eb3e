package budget

import (
	"encoding/json"
	"math"
	"time"

	"entitled/internal/stripeapi"
)

const (
	// recovery is how long the rate takes to rise, in a straight line, from a halving back to the
	// full rate.
	recovery = 20 * time.Second
	// halveEvery is the least time between two halvings: the 429s in between come from requests
	// that were sent before the first.
	halveEvery = 500 * time.Millisecond
	// depth is the size of the bucket in seconds of its rate. With the permits that replicas may
	// use a little late (promised, permitTTL), the fleet stays within bursts of one second's worth.
	depth = 0.75
	// promised is how many permits may be taken before they are due, in seconds of the rate. So
	// waiters of all replicas are served in the order in which they ask, and one write serves
	// several.
	promised = 0.25
)

// mostPermits bounds the permits that a bucket can hold or owe: ten seconds at a rate of 1,000
// requests/s, ten times Stripe's limit.
const mostPermits = 10_000

// A bucket is the fleet's allowance at one instant. It has two halves, each filled with half of the
// rate. The overflow of a half flows into the other: an unused share is lent, and is back as soon
// as it is used again.
//
// This file is arithmetic alone: it reads no clock and does no I/O.
type bucket struct {
	// Shared are the permits left in the half for webhooks and bulk work, Requests those in the
	// half for requests. Below 0, permits were taken that are not due yet.
	Shared   float64 `json:"places"`
	Requests float64 `json:"requests"`
	// Low is the rate right after the last halving, in requests/s.
	Low float64 `json:"low"`
	// Since is the time since the last halving, in seconds.
	Since float64 `json:"since"`
	// Total counts the permits that were ever taken.
	Total uint64 `json:"total,omitempty"`
}

// An entry is the KV value: the bucket as it was at Prev, and the change that the write made.
//
// No local clock is in it. Prev is the server's timestamp of the revision before, the entry's own
// timestamp is the server's too, and only their difference counts. The writer cannot know the
// second one, each reader knows both.
type entry struct {
	bucket
	Prev  int64          `json:"prev"`  // unix nanoseconds; 0: there was no revision before
	Taken int            `json:"taken"` // permits that the write took
	For   stripeapi.Kind `json:"for,omitempty"`
	Halve bool           `json:"halve,omitempty"`
	Full  float64        `json:"full,omitempty"` // the writer's configured rate, for those who only look
}

// A change is the effect of one write on the bucket.
type change struct {
	take  int
	kind  stripeapi.Kind // of the permits taken
	halve bool
}

// left returns the permits left in both halves.
func (b bucket) left() float64 { return b.Shared + b.Requests }

// half returns the half of a kind, and the other one.
func (b *bucket) half(k stripeapi.Kind) (own, other *float64) {
	if k == stripeapi.Requests {
		return &b.Requests, &b.Shared
	}
	return &b.Shared, &b.Requests
}

// A rule is the configured rate, in requests/s.
type rule float64

func (r rule) floor() float64 { return min(float64(r), max(float64(r)/10, 1)) }

func (r rule) rate(b bucket) float64 {
	low := min(b.Low, float64(r))
	return low + (float64(r)-low)*min(b.Since/recovery.Seconds(), 1)
}

func (r rule) capacity(b bucket) float64 { return max(1, depth*r.rate(b)) }

// promise returns how many permits may be taken before they are due.
func (r rule) promise(b bucket) float64 { return max(1, math.Floor(promised*r.rate(b))) }

// empty returns the first bucket, without permits: a lost bucket must not allow a burst.
func (r rule) empty() bucket { return bucket{Low: float64(r), Since: recovery.Seconds()} }

// after returns the bucket d later.
func (r rule) after(b bucket, d time.Duration) bucket {
	if s := d.Seconds(); s > 0 {
		more := s * r.rate(b) / 2 // at the rate at the start, which is less than the one at the end
		b.Shared += more
		b.Requests += more
		b.Since = min(b.Since+s, time.Hour.Seconds())
	}
	return r.level(b)
}

// level moves the overflow of a half into the other. Overflow of both is lost.
func (r rule) level(b bucket) bucket {
	half := r.capacity(b) / 2
	over := max(b.Shared-half, 0) + max(b.Requests-half, 0)
	b.Shared, b.Requests = min(b.Shared, half), min(b.Requests, half)
	into := min(over, half-b.Shared)
	b.Shared += into
	b.Requests = min(b.Requests+over-into, half)
	return b
}

func (r rule) apply(b bucket, c change) bucket {
	own, _ := b.half(c.kind)
	*own -= float64(c.take)
	b.Total += uint64(max(c.take, 0))
	if c.halve {
		b.Low, b.Since = max(r.floor(), r.rate(b)/2), 0
		b = r.level(b)
	}
	return b
}

// decode returns the bucket as it was when the server stored the value; false if the value holds
// none.
func (r rule) decode(value []byte, stored time.Time) (bucket, bool) {
	var v entry
	if json.Unmarshal(value, &v) != nil ||
		v.Low <= 0 || v.Since < 0 || v.Taken < 0 || v.For < stripeapi.Webhooks || v.For > stripeapi.Bulk {
		return bucket{}, false
	}
	// A bucket beyond mostPermits was not written by this package. The replica's own rate is no
	// measure: it may be configured wrong.
	if math.Abs(v.Shared) > mostPermits || math.Abs(v.Requests) > mostPermits || float64(v.Taken) > mostPermits {
		return bucket{}, false
	}
	b := v.bucket
	// The debt of a fleet with a higher rate is cut, or this one would pay it back for minutes.
	least := -5 * max(1, float64(r)) // in each half
	b.Shared, b.Requests = max(b.Shared, least), max(b.Requests, least)
	if v.Prev != 0 {
		b = r.after(b, stored.Sub(time.Unix(0, v.Prev)))
	}
	return r.apply(b, change{v.Taken, v.For, v.Halve}), true
}

// encode returns the value that changes b. prev is when the server stored the value that b was
// decoded from, the zero time if there was none.
func (r rule) encode(prev time.Time, b bucket, c change) []byte {
	v := entry{bucket: b, Taken: c.take, For: c.kind, Halve: c.halve, Full: float64(r)}
	if !prev.IsZero() {
		v.Prev = prev.UnixNano()
	}
	data, _ := json.Marshal(v) // finite numbers: cannot fail
	return data
}

// tiny absorbs the rounding errors of adding fractions of permits.
const tiny = 1e-6

// allot returns how many of the wanted permits to take, or how long to wait before asking again.
func (r rule) allot(b bucket, wanted int, kind stripeapi.Kind) (n int, wait time.Duration) {
	// Permits may be taken before they are due, but only when all taken before in this half are
	// due. So a replica that asks early gains little, and one that asks late asks for more waiters
	// at once.
	need, least := 0.0, -r.promise(b)
	again := need
	if kind == stripeapi.Bulk {
		// Bulk work takes while the half that it shares with webhooks is at least half full, so
		// that a webhook finds a permit there. It can wait until there are several.
		full := r.capacity(b) / 2
		need, least = min(max(full/2, 1), full), max(full/2-1, 0)
		again = min(need+r.promise(b)/2, full)
	}
	own, _ := b.half(kind)
	if *own+tiny < need {
		return 0, r.until(b, kind, again)
	}
	return max(1, min(wanted, int(math.Floor(*own-least+tiny)))), 0
}

// until returns how long the half of a kind takes to hold so many permits, if none are taken. It
// fills at half of the rate, and at the whole rate once the other half is full.
func (r rule) until(b bucket, kind stripeapi.Kind, permits float64) time.Duration {
	own, other := b.half(kind)
	rate := r.rate(b) / 2
	missing := permits - *own
	s := missing / rate
	if alone := max(r.capacity(b)/2-*other, 0) / rate; s > alone {
		s = alone + (missing-alone*rate)/(2*rate)
	}
	return time.Duration(s * float64(time.Second))
}

// due returns how long after b the n-th permit taken from it may be used; n starts at 1.
func (r rule) due(b bucket, n int) time.Duration {
	short := float64(n) - b.left() - tiny
	if short <= 0 {
		return 0
	}
	return time.Duration(short / r.rate(b) * float64(time.Second))
}

// overflows reports whether a permit would be lost within d if none are taken: the bucket gets
// full, and one more is due.
func (r rule) overflows(b bucket, d time.Duration) bool {
	return b.left()+d.Seconds()*r.rate(b) >= r.capacity(b)+1
}
