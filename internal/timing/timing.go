// Package timing has the times of the syncers, so that their pace can be read and changed in one
// place. There are three kinds:
//
//   - Pauses, intervals and allowances: the fields of [Timing]. They decide how soon a syncer
//     notices or repeats something, and no result depends on them. Tests run at a fraction of them
//     ([Timing.Divide]).
//   - Deadlines: how long before a missing answer is an error. They are the same in tests: a busy
//     machine that answers late must not look like a server that does not answer.
//   - Intervals of the scheduled jobs. The NATS server keeps these schedules. They are the same in
//     tests, which start a job when they need it.
//
// The pace of a busy customer is part of the protocol (package protocol, pace.go), and the time
// after which a marker is delivered again is part of the topology (topology.AckWait).
package timing

import (
	"math/rand/v2"
	"time"
)

// Timing has the pauses, intervals and allowances of a syncer. The programs use [Production].
type Timing struct {
	// Again is the pause before a marker whose sync failed on our own side of the wire is delivered
	// again. It is short, because our own side is mended soon, or the connection is gone and no
	// marker is delivered.
	Again time.Duration
	// FirstDelay is the delay after the first failure at Stripe. It doubles with each further one,
	// up to LongestDelay.
	FirstDelay, LongestDelay time.Duration
	// LongestListing is the longest pause before a job lists the same page of Stripe again.
	LongestListing time.Duration
	// Probe is how often a refused key is tried again, and how long a marker waits meanwhile.
	Probe time.Duration
	// Reopen is the pause before a syncer opens its streams again, or a consumer that it could not
	// pull from.
	Reopen time.Duration
	// Plans is how often a syncer looks for another plans document.
	Plans time.Duration
	// Features is how long an answer of Stripe holds that an account has no feature, FeaturesLook
	// how often each syncer looks whether one is older.
	Features, FeaturesLook time.Duration

	// Schedules is how often each syncer checks the schedules of the jobs, SchedulesAgain how soon
	// after a check that failed.
	Schedules, SchedulesAgain time.Duration
	// JobAgain is the shortest pause before a job that failed, or is unknown here, is delivered
	// again.
	JobAgain time.Duration
	// Strays is how often each syncer looks for messages that their consumer has left behind.
	Strays time.Duration

	// TooYoung is the age below which coverage does not check an event: its marker may be on the
	// way.
	TooYoung time.Duration
	// SecondLook is the wait before a customer counts as uncovered. A lagging replica may hide a
	// marker and a record, but does not lag this long while it serves reads.
	SecondLook time.Duration
	// OnTheWay is how long after its event is listed a webhook may take to arrive. Divide leaves it
	// as it is: a test whose webhooks are late would have its events recovered.
	OnTheWay time.Duration
	// Refused is how long NATS counts as full after a refused write although other writes succeed:
	// in a cluster, one stream may be full while others are not.
	Refused time.Duration

	// ReliefBeat is how often the syncer of a relief writes the entry of the relief, ReliefDead how
	// long the entry of an active one may stay unchanged before that syncer counts as dead.
	ReliefBeat, ReliefDead time.Duration
	// ReliefPoll is how often each syncer reads the entry of the relief.
	ReliefPoll time.Duration
	// GiveWay is how long a marker is put off that a relief is about to cover, and to remove.
	GiveWay time.Duration
	// AfterRelief is the pause between two reliefs: customers that a sweep does not show, such as
	// those without subscriptions, must get their own syncs in between.
	AfterRelief time.Duration
}

// Production is the timing of the programs.
var Production = Timing{
	Again:          time.Second,
	FirstDelay:     time.Second,
	LongestDelay:   15 * time.Minute,
	LongestListing: 30 * time.Second,
	Probe:          5 * time.Second,
	Reopen:         time.Second,
	Plans:          time.Second,
	Features:       time.Hour,
	FeaturesLook:   5 * time.Minute,
	Schedules:      time.Minute,
	SchedulesAgain: 5 * time.Second,
	JobAgain:       10 * time.Second,
	Strays:         10 * time.Second,
	TooYoung:       time.Second,
	SecondLook:     2 * time.Second,
	OnTheWay:       5 * time.Second,
	Refused:        5 * time.Second,
	ReliefBeat:     3 * time.Second,
	ReliefDead:     12 * time.Second,
	ReliefPoll:     time.Second,
	GiveWay:        10 * time.Second,
	AfterRelief:    10 * time.Minute,
}

// Deadlines.
const (
	// LeaderWithin bounds the wait for a leader's answer. There is none during an election.
	LeaderWithin = time.Second
	// AskWithin bounds the wait for an answer that no replica can give. nats.go has the same bound.
	AskWithin = 5 * time.Second
	// AckWithin bounds the wait for a PubAck. nats.go has no bound, and a PubAck that was lost with
	// its leader never comes.
	AckWithin = 5 * time.Second
	// SilentAfter is how long NATS may take to acknowledge a write; normally it takes milliseconds.
	SilentAfter = time.Second
	// StallWithin bounds a publish's wait while too many others are not acknowledged yet.
	StallWithin = 10 * time.Second
	// AnswerWithin bounds a request of an app for a snapshot.
	AnswerWithin = 10 * time.Second
	// FinishWithin is how long a stopping syncer may take to finish the work under way.
	FinishWithin = 10 * time.Second
	// PullWithin bounds one pull from a consumer, so that a removed consumer is noticed.
	PullWithin = 10 * time.Second
	// Heartbeat is the interval of heartbeats during a pull. A pull without one for two intervals
	// is lost, as when the consumer's leader is gone.
	Heartbeat = time.Second
)

// Intervals of the scheduled jobs. That of coverage is a setting, COVERAGE_EVERY.
const (
	RecoverEvery = 5 * time.Minute
	FanOutEvery  = 30 * time.Second
	DecideEvery  = time.Minute
	ReliefEvery  = 15 * time.Second
)

// Polls and beats are divided by no more than fewest: more often they would cost a test more than
// its wait, and a beat that is late on a busy machine would look like a dead syncer.
const fewest = 5

// Divide returns t at an nth of its times, for tests; a poll, and each time of a relief, is at
// least a fifth, and OnTheWay is whole.
func (t Timing) Divide(n time.Duration) Timing {
	for _, d := range []*time.Duration{
		&t.Again, &t.FirstDelay, &t.LongestDelay, &t.LongestListing, &t.Probe, &t.Reopen, &t.Schedules,
		&t.SchedulesAgain, &t.JobAgain, &t.TooYoung, &t.SecondLook, &t.Refused, &t.Features, &t.FeaturesLook,
	} {
		*d /= n
	}
	for _, d := range []*time.Duration{
		&t.Plans, &t.Strays, &t.ReliefBeat, &t.ReliefDead, &t.ReliefPoll, &t.GiveWay, &t.AfterRelief,
	} {
		*d /= min(n, fewest)
	}
	return t
}

// Backoff is the delay after a number of failures: it doubles from FirstDelay to LongestDelay, with
// jitter, so that markers that failed together do not come back together.
func (t Timing) Backoff(failures int) time.Duration {
	d := t.LongestDelay
	if shift := max(failures-1, 0); shift < 20 {
		d = min(t.FirstDelay<<shift, t.LongestDelay)
	}
	return d/2 + rand.N(d/2+1)
}
