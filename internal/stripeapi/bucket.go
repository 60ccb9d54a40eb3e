package stripeapi

import (
	"encoding/json"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// recovery is how long the rate takes to rise from a halving back to the full rate, in a straight line.
	recovery = 20 * time.Second
	// halveEvery is how close two halvings may be: the 429s in between come from requests sent before the first.
	halveEvery = 500 * time.Millisecond
	// depth is the size of the bucket in seconds of its rate. With what replicas may hold a little late (ahead, held)
	// the fleet stays within bursts of one second's worth.
	depth = 0.75
	// ahead is how far places are promised that come due only later, in seconds of the rate: waiters of all replicas
	// get their turn in the order of asking, and one write serves several.
	ahead = 0.25
)

// mostPlaces bounds what a bucket can hold or owe: ten seconds at a rate of 1,000 requests/s, ten times what Stripe allows.
const mostPlaces = 10_000

// A bucket is the fleet's allowance at one instant. It has two halves, each filled with half of the rate. What a half has no room for
// flows into the other: a share that is not used is lent, and is back as soon as it is.
type bucket struct {
	// Places are what is left in the half for webhooks and bulk work, Requests in the half for requests; below 0 they are promised.
	Places   float64 `json:"places"`
	Requests float64 `json:"requests"`
	// Low is the rate right after the last halving, in requests/s.
	Low float64 `json:"low"`
	// Since is the time since the last halving, in seconds.
	Since float64 `json:"since"`
}

// An entry is the KV value: the bucket as it was at Prev, and what the write did to it.
//
// Nobody's clock is in it. Prev is the server's timestamp of the revision before, the entry's own timestamp is the
// server's too, and only their difference counts; a reader knows both, the writer did not.
type entry struct {
	bucket
	Prev  int64 `json:"prev"`  // unix nanoseconds; 0: there was none
	Taken int   `json:"taken"` // places taken by this write
	For   Kind  `json:"for,omitempty"`
	Halve bool  `json:"halve,omitempty"`
}

// A change is what one write does to the bucket.
type change struct {
	take  int
	kind  Kind // of the places taken
	halve bool
}

// left is what is left in both halves.
func (b bucket) left() float64 { return b.Places + b.Requests }

// half is the half of a kind, and the other one.
func (b *bucket) half(k Kind) (own, other *float64) {
	if k == Requests {
		return &b.Requests, &b.Places
	}
	return &b.Places, &b.Requests
}

// A rule is the configured rate, in requests/s.
type rule float64

func (r rule) floor() float64 { return min(float64(r), max(float64(r)/10, 1)) }

func (r rule) rate(b bucket) float64 {
	low := min(b.Low, float64(r))
	return low + (float64(r)-low)*min(b.Since/recovery.Seconds(), 1)
}

func (r rule) capacity(b bucket) float64 { return max(1, depth*r.rate(b)) }

// promise is how many places may be promised ahead.
func (r rule) promise(b bucket) float64 { return max(1, math.Floor(ahead*r.rate(b))) }

// empty is the bucket to start from: a lost one must not be worth a burst.
func (r rule) empty() bucket { return bucket{Low: float64(r), Since: recovery.Seconds()} }

// after is the bucket d later.
func (r rule) after(b bucket, d time.Duration) bucket {
	if s := d.Seconds(); s > 0 {
		more := s * r.rate(b) / 2 // of the rate it starts with, which is less than the one it ends with
		b.Places += more
		b.Requests += more
		b.Since = min(b.Since+s, time.Hour.Seconds())
	}
	return r.level(b)
}

// level lets what a half has no room for flow into the other, and is lost where that one is full too.
func (r rule) level(b bucket) bucket {
	half := r.capacity(b) / 2
	over := max(b.Places-half, 0) + max(b.Requests-half, 0)
	b.Places, b.Requests = min(b.Places, half), min(b.Requests, half)
	into := min(over, half-b.Places)
	b.Places += into
	b.Requests = min(b.Requests+over-into, half)
	return b
}

func (r rule) apply(b bucket, c change) bucket {
	own, _ := b.half(c.kind)
	*own -= float64(c.take)
	if c.halve {
		b.Low, b.Since = max(r.floor(), r.rate(b)/2), 0
		b = r.level(b)
	}
	return b
}

// read returns the bucket as it was when the server stored e; false if e holds none.
func (r rule) read(e jetstream.KeyValueEntry) (bucket, bool) {
	var v entry
	if json.Unmarshal(e.Value(), &v) != nil || v.Low <= 0 || v.Since < 0 || v.Taken < 0 || v.For < Webhooks || v.For > Bulk {
		return bucket{}, false
	}
	// More than any fleet has: not made here. One's own rate is no measure, it may be set wrong.
	if math.Abs(v.Places) > mostPlaces || math.Abs(v.Requests) > mostPlaces || float64(v.Taken) > mostPlaces {
		return bucket{}, false
	}
	b := v.bucket
	// What a fleet with a higher rate owes must not take this one minutes to pay back.
	least := -5 * max(1, float64(r)) // in each half
	b.Places, b.Requests = max(b.Places, least), max(b.Requests, least)
	if v.Prev != 0 {
		b = r.after(b, e.Created().Sub(time.Unix(0, v.Prev)))
	}
	return r.apply(b, change{v.Taken, v.For, v.Halve}), true
}

// write is the value that replaces e, from which b was read.
func write(e jetstream.KeyValueEntry, b bucket, c change) []byte {
	v := entry{bucket: b, Taken: c.take, For: c.kind, Halve: c.halve}
	if e != nil {
		v.Prev = e.Created().UnixNano()
	}
	data, _ := json.Marshal(v) // finite numbers: cannot fail
	return data
}

// tiny absorbs what adding up fractions of places leaves.
const tiny = 1e-6

// allot says how many of wanted places to take, or how long to wait before asking again.
func (r rule) allot(b bucket, wanted int, kind Kind) (n int, wait time.Duration) {
	// A place may be promised, but only when all that were promised before in its half are due: who asks earlier gains
	// little, and who asks later asks for more waiters at once.
	need, least := 0.0, -r.promise(b)
	again := need
	if kind == Bulk {
		// Bulk work takes while the half that it shares with webhooks is itself half full, so that a webhook finds
		// something in it. It can wait for a few.
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

// until is how long it takes the half of a kind to hold so many places, if none are taken: it fills at half of the rate, and at all of
// it once the other half is full.
func (r rule) until(b bucket, kind Kind, places float64) time.Duration {
	own, other := b.half(kind)
	rate := r.rate(b) / 2
	missing := places - *own
	s := missing / rate
	if alone := max(r.capacity(b)/2-*other, 0) / rate; s > alone {
		s = alone + (missing-alone*rate)/(2*rate)
	}
	return time.Duration(s * float64(time.Second))
}
