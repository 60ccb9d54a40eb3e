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

// Conn is the part of a NATS connection that a Publisher lacks: it sends a batch of messages with
// one PubAck.
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

// maxBatch is the largest batch; the server's limit is 1,000.
const maxBatch = 256

// A group publishes events, and lets concurrent ones share the fsyncs of the server.
//
// An event is published at once, by itself, unless [batchPolicy] is batching. Then an event that
// arrives while another is in flight waits, and all waiting events are published as one atomic
// batch when that one has ended. There is one batch at a time, of at least minBatch events.
//
// A batch is only an attempt. If it is refused (one repeated event is enough) or fails, each of its
// events is published by itself. So is an event that has waited for half of its webhook's time,
// because a PubAck is late; then there are no batches for a minute. If the batch was stored after
// all, the second publish is a repeat, which the stream drops.
type group struct {
	publisher Publisher
	conn      Conn // nil: no batches
	patience  time.Duration
	metrics   *metrics

	// guards the fields below; while any event waits, a publish is in flight whose end will take it
	// along
	mu       sync.Mutex
	policy   batchPolicy
	inFlight int // publishes or batches
	// waiting has the waiting events in the order of their arrival.
	waiting []*pending
}

// A pending is an event that waits for a batch.
type pending struct {
	msg *nats.Msg
	// stored receives true when a batch has stored the event, false when it must be published by
	// itself. It is buffered, since the webhook may have stopped waiting.
	stored chan bool
}

// A receipt is the result for an acknowledged event.
type receipt struct {
	// sequence is the event's sequence in its stream; 0 if unknown, since the PubAck of a batch has
	// only the last.
	sequence uint64
	// duplicate reports that the event was already stored.
	duplicate bool
	// inUse reports that an unfinished batch may still send the message.
	inUse bool
}

// publish returns when the event is acknowledged, or cannot be before the deadline.
func (g *group) publish(msg *nats.Msg, deadline <-chan time.Time) (r receipt, err error) {
	if t := g.enter(msg); t != nil {
		patience := time.NewTimer(g.patience)
		defer patience.Stop()
		select {
		case stored := <-t.stored:
			if stored {
				return r, nil
			}
			g.fallBack(false)
		case <-patience.C:
			r.inUse = true
			g.fallBack(true)
		}
	}
	stored := false
	defer func() { g.leave(stored) }()
	single, err := publish(g.publisher, msg, deadline)
	stored = err == nil
	single.inUse = r.inUse
	return single, err
}

// enter returns nil if the event is to be published at once.
func (g *group) enter(msg *nats.Msg) *pending {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight == 0 || !g.policy.batching {
		g.begin()
		return nil
	}
	t := &pending{msg: msg, stored: make(chan bool, 1)}
	g.waiting = append(g.waiting, t)
	return t
}

// fallBack begins the single publish of an event that waited for a batch.
func (g *group) fallBack(lostPatience bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if lostPatience {
		g.policy.stalled(time.Now()) // if the event is still in waiting, no batch will take it now
	}
	g.begin()
}

// begin counts a publish in flight. The caller holds mu.
func (g *group) begin() {
	if g.inFlight == 0 {
		g.policy.start(time.Now())
	}
	g.inFlight++
}

// leave ends what enter or fallBack began.
func (g *group) leave(stored bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if stored && g.conn != nil {
		g.policy.stored(time.Now(), g.inFlight)
	}
	g.next()
}

// next releases the waiting events if nothing is in flight. The caller holds mu.
func (g *group) next() {
	if g.inFlight > 0 || len(g.waiting) == 0 {
		return
	}
	if !g.policy.batching || len(g.waiting) < minBatch {
		g.policy.tooFew(time.Now())
		finish(g.waiting, false)
		g.waiting = nil
		return
	}
	batch := g.waiting[:min(len(g.waiting), maxBatch):min(len(g.waiting), maxBatch)]
	g.waiting = g.waiting[len(batch):]
	g.begin()
	go g.send(batch) // ends within patience; its events wait for it
}

func (g *group) send(batch []*pending) {
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
	g.inFlight--
	g.policy.batchEnded(time.Now(), n)
	g.next()
	g.mu.Unlock()
	finish(batch, stored)
}

func finish(events []*pending, stored bool) {
	for _, t := range events {
		t.stored <- stored
	}
}

// publishBatch reports whether the server acknowledged the whole batch.
func (g *group) publishBatch(batch []*pending) bool {
	id := rand.Text()
	last := len(batch) - 1
	var reply *nats.Msg
	for i, t := range batch {
		// A copy, because the event may have to be published without these headers.
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
	// An error response has neither field.
	var ack struct {
		Batch string `json:"batch"`
		Count int    `json:"count"`
	}
	return json.Unmarshal(reply.Data, &ack) == nil && ack.Batch == id && ack.Count == len(batch)
}
