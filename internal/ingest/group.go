package ingest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Conn is the NATS connection, for what a Publisher has no words for: a batch of messages with one PubAck.
type Conn interface {
	PublishMsg(msg *nats.Msg) error
	RequestMsg(msg *nats.Msg, timeout time.Duration) (*nats.Msg, error)
}

// The headers of an atomic batch (ADR-50).
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// largest is how many events a batch may hold; the server takes 1,000.
const largest = 256

// A group stores events, and lets a crowd of them share what the server's disk costs.
//
// An event is published at once and by itself unless [choice] says that those that wait go together. Then one that comes while
// another is on its way waits, and all that wait go as one atomic batch when that one has ended. There is one batch at a
// time, and none of fewer than eight.
//
// A batch is an attempt, never the last word: if it is refused (one repeat in it is enough) or fails, each of its events is
// published by itself. So is one that is not stored after half the time that its webhook has, be it that its batch or
// what it waits behind has lost its PubAck; and then there are no batches for a minute. Should the batch have been
// stored after all, the second publish is a repeat, which the stream drops.
type group struct {
	publisher Publisher
	conn      Conn // nil: no batches
	patience  time.Duration
	metrics   *metrics

	mu     sync.Mutex // out and waiting belong together: while any wait, something is on its way whose end will take them along
	choice choice
	out    int // publishes, or batches, on their way
	// waiting are in the order in which they came.
	waiting []*turn
}

// A turn is an event that waits.
type turn struct {
	msg *nats.Msg
	// stored is told true when a batch has stored it, and false when it must go by itself. It has room for the answer, since
	// its webhook may have lost patience.
	stored chan bool
}

// A receipt is for an event that is acknowledged.
type receipt struct {
	// sequence is where it is in its stream, 0 if it is not known: the PubAck of a batch tells only the last.
	sequence uint64
	// duplicate says that it had been stored before.
	duplicate bool
	// inUse says that a batch that has yet to end may still be written from the message.
	inUse bool
}

// publish returns when the event is acknowledged or cannot be before the deadline.
func (g *group) publish(msg *nats.Msg, deadline <-chan time.Time) (r receipt, err error) {
	if t := g.enter(msg); t != nil {
		patience := time.NewTimer(g.patience)
		defer patience.Stop()
		select {
		case stored := <-t.stored:
			if stored {
				return r, nil
			}
			g.alone(false)
		case <-patience.C:
			r.inUse = true
			g.alone(true)
		}
	}
	stored := false
	defer func() { g.leave(stored) }()
	single, err := publish(g.publisher, msg, deadline)
	stored = err == nil
	single.inUse = r.inUse
	return single, err
}

// enter returns nil for an event that goes now.
func (g *group) enter(msg *nats.Msg) *turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == 0 || !g.choice.together {
		g.begin()
		return nil
	}
	t := &turn{msg: msg, stored: make(chan bool, 1)}
	g.waiting = append(g.waiting, t)
	return t
}

// alone is for an event that waited and now goes by itself.
func (g *group) alone(lostPatience bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if lostPatience {
		g.choice.stalled(time.Now()) // no batch will take its turn, unless one has
	}
	g.begin()
}

// begin counts what is on its way. mu is held.
func (g *group) begin() {
	if g.out == 0 {
		g.choice.busy(time.Now())
	}
	g.out++
}

// leave ends what enter began.
func (g *group) leave(stored bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out--
	if stored && g.conn != nil {
		g.choice.single(time.Now(), g.out)
	}
	g.next()
}

// next sends those that wait on their way once nothing else is on it. mu is held.
func (g *group) next() {
	if g.out > 0 || len(g.waiting) == 0 {
		return
	}
	if !g.choice.together || len(g.waiting) < fewest {
		g.choice.thin(time.Now())
		tell(g.waiting, false)
		g.waiting = nil
		return
	}
	batch := g.waiting[:min(len(g.waiting), largest):min(len(g.waiting), largest)]
	g.waiting = g.waiting[len(batch):]
	g.begin()
	go g.send(batch) // those in it wait for it; it ends within patience
}

func (g *group) send(batch []*turn) {
	stored := g.publishBatch(batch)
	n := 0
	if stored {
		n = len(batch)
		g.metrics.batchesStored.Inc()
	} else {
		g.metrics.batchesRefused.Inc()
	}
	g.metrics.batched.Add(float64(n))
	g.mu.Lock()
	g.out--
	g.choice.batch(time.Now(), n)
	g.next()
	g.mu.Unlock()
	tell(batch, stored)
}

func tell(turns []*turn, stored bool) {
	for _, t := range turns {
		t.stored <- stored
	}
}

// publishBatch reports whether the server has acknowledged the whole batch.
func (g *group) publishBatch(batch []*turn) bool {
	id := rand.Text()
	last := len(batch) - 1
	var reply *nats.Msg
	for i, t := range batch {
		// A copy: the event may have to be published without these.
		msg := &nats.Msg{Subject: t.msg.Subject, Header: maps.Clone(t.msg.Header), Data: t.msg.Data}
		msg.Header[batchID] = []string{id}
		msg.Header[batchSequence] = []string{strconv.Itoa(i + 1)}
		var err error
		if i < last {
			err = g.conn.PublishMsg(msg)
		} else {
			msg.Header[batchCommit] = []string{"1"}
			reply, err = g.conn.RequestMsg(msg, g.patience)
		}
		if err != nil {
			return false
		}
	}
	// An error has neither of the two.
	var ack struct {
		Batch string `json:"batch"`
		Count int    `json:"count"`
	}
	return json.Unmarshal(reply.Data, &ack) == nil && ack.Batch == id && ack.Count == len(batch)
}
