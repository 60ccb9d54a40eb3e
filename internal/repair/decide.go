package repair

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// A Decider is the job that decides every snapshot again when another plans document is in force, or
// when an earlier version of this program decided them. It makes no request to Stripe.
//
// The order of the bucket is its cursor: each snapshot that is decided again moves to the end, so a
// run that follows a killed one finds those that are left at the beginning, and completes the
// others. A snapshot that a sync writes meanwhile moves to the end too, and is met there. The job is
// done when one pass has found nothing to decide.
type Decider struct {
	*store.Store
	Protocol *protocol.Protocol
	Mode     entitlement.Mode
	Log      *slog.Logger
	// Name is that of this process, for those who wait.
	Name string
}

// Run is the job. It does nothing if all snapshots are decided under the document in force, and no
// customer lacks entitlements because nobody asked for them.
func (d *Decider) Run(ctx context.Context, _ bool) error {
	doc, err := d.Document(ctx, 0)
	if err != nil {
		return err
	}
	overdue, err := d.Overdue(ctx, doc)
	if err != nil {
		return err
	}
	noted, err := d.entry().Get(ctx)
	if err != nil || noted.OK && noted.V.Number == doc.Revision() && len(overdue) == 0 {
		return err
	}
	return d.All(ctx)
}

func (d *Decider) entry() streams.Entry[store.Decided] { return store.DecidedEntry(d.State, d.Mode) }

// errOthers ends a run because another syncer runs the job.
var errOthers = errors.New("another syncer decides the snapshots")

// All decides every snapshot that is not decided under the document in force. It leaves that to
// another syncer that does so already.
func (d *Decider) All(ctx context.Context) error {
	err := d.all(ctx)
	if errors.Is(err, errOthers) {
		return nil
	}
	return err
}

func (d *Decider) all(ctx context.Context) error {
	r, err := d.begin(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		found, err := d.pass(ctx, r)
		if err != nil {
			return err
		}
		if found > 0 {
			// A lagging replica may not have shown a snapshot that was just created.
			if d.Bucket.Replicated() {
				err = protocol.Sleep(ctx, d.Timing.SecondLook)
			}
			if err != nil {
				return err
			}
			continue
		}
		if again, err := r.end(ctx); err != nil || !again {
			if err == nil && r.note.Done+r.note.Lacking > 0 {
				d.Log.Info("snapshots decided under the plans document", "number", r.number, "decided", r.note.Done,
					"changed", r.changed, "to be read from Stripe", r.note.Lacking, "took", time.Since(began))
			}
			return err
		}
	}
}

// A deciding is one run of the job.
type deciding struct {
	*Decider
	number uint64
	// resumed says that the run before did not end: its last decisions may lack their records.
	resumed bool
	reading

	mu       sync.Mutex
	note     store.Decided
	revision uint64
	changed  int
	// absent counts entries that were listed and then not found.
	absent int
}

// begin notes that the job runs. The note changes all the time while it does: if it says that another
// syncer runs it, and does not change for a while, that syncer is dead.
func (d *Decider) begin(ctx context.Context) (*deciding, error) {
	doc, err := d.Document(ctx, 0)
	if err != nil {
		return nil, err
	}
	noted, err := d.entry().Get(ctx)
	if err != nil {
		return nil, err
	}
	if noted.V.Running {
		if err := protocol.Sleep(ctx, d.Timing.ReliefDead); err != nil {
			return nil, err
		}
		before := noted.Revision
		if noted, err = d.entry().Get(ctx); err != nil {
			return nil, err
		}
		if noted.Revision != before {
			return nil, errOthers
		}
	}
	status, err := d.Bucket.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := &deciding{Decider: d, number: doc.Revision(), revision: noted.Revision, resumed: noted.V.Running}
	r.note = store.Decided{
		Number: noted.V.Number, Deciding: r.number, Running: true, Total: int(status.Values()), By: d.Name,
	}
	if r.reading, err = d.newReading(ctx, doc); err != nil {
		return nil, err
	}
	return r, r.save(ctx)
}

// save stores the note, unless another syncer has stored its own.
func (r *deciding) save(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	written, err := r.entry().Set(ctx, r.note, r.revision)
	if errors.Is(err, streams.ErrConflict) {
		return errOthers
	}
	if err == nil {
		r.revision = written
	}
	return err
}

// end notes that every snapshot is decided under the document, unless another one is in force by
// now.
func (r *deciding) end(ctx context.Context) (again bool, err error) {
	doc, err := r.Document(ctx, 0)
	if err != nil {
		return false, err
	}
	if doc.Revision() != r.number {
		r.number, r.note.Deciding, r.note.Done, r.note.Lacking = doc.Revision(), doc.Revision(), 0, 0
		if r.reading, err = r.newReading(ctx, doc); err != nil {
			return false, err
		}
		return true, r.save(ctx)
	}
	for account, known := range r.overdue {
		if err := r.Asked(ctx, account, known); err != nil {
			return false, err
		}
	}
	r.note.Number, r.note.Deciding, r.note.Running = r.number, 0, false
	return false, r.save(ctx)
}

const (
	// deciders is how many customers are decided at once. With few, the server and this process wake
	// each other for every customer, which takes CPU time (docs/performance.md).
	deciders = 64
	// besideWebhooks is how many begin at once while this process syncs a customer because of a webhook,
	// which would wait behind many.
	besideWebhooks = 8
)

// pass decides the snapshots of one reading of the bucket, and returns how many it decided or did not
// find.
func (d *Decider) pass(ctx context.Context, r *deciding) (found int, err error) {
	// Entries that are decided under it are left as they are. If another one is applied meanwhile, end
	// notices.
	doc, err := d.Document(ctx, 0)
	if err != nil {
		return 0, err
	}
	beating, stop := context.WithCancelCause(ctx)
	var beats sync.WaitGroup
	defer beats.Wait()
	defer stop(nil)
	beats.Go(func() {
		for protocol.Sleep(beating, d.Timing.ReliefBeat) == nil {
			if err := r.save(beating); errors.Is(err, errOthers) {
				stop(err)
			}
		}
	})
	before := r.note.Done + r.absent
	few := make(chan struct{}, besideWebhooks)
	each := func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error {
		if d.Protocol.SyncsWebhooks() {
			select {
			case few <- struct{}{}:
				defer func() { <-few }()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s, err := entitlement.Decode(data)
		if err != nil {
			return nil // its next sync overwrites it
		}
		return d.decide(ctx, r, c, protocol.Current{Snapshot: &s, There: true, Revision: revision, Document: doc})
	}
	if err := d.EachSnapshotBy(beating, d.Mode, store.Everyone, deciders, each); err != nil {
		if cause := context.Cause(beating); ctx.Err() == nil && cause != nil {
			return 0, cause
		}
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.note.Done + r.absent - before, nil
}

// underWay is longer than a sync takes from its reading of Stripe to its record.
const underWay = time.Minute

// decide decides one customer, whose entry was listed a moment ago, unless it is decided under the
// document in force.
func (d *Decider) decide(ctx context.Context, r *deciding, c stripeevent.Customer, listed protocol.Current) error {
	s, doc := listed.Snapshot, listed.Document
	lacks, err := r.lacks(ctx, doc, c, s)
	if err != nil {
		return err
	}
	// A sync may have been the first to decide under the document, and may have died before its record. A
	// young one may be about to leave it.
	synced := s.FactsRevision == 0 && doc.Revision() != 0 && time.Since(s.AsOf) > underWay
	if s.Grants == nil || s.PlansRevision != doc.Revision() || r.resumed && s.FactsRevision != 0 || synced {
		done, err := d.Protocol.DecideListed(ctx, c, listed)
		if err != nil {
			return err
		}
		lacks = lacks || done.Lacks
		r.count(func(n *store.Decided) {
			if done.Absent {
				r.absent++
			}
			if done.Outcome != "" {
				n.Done++
			}
			if done.Outcome != "" && done.Outcome != record.Unchanged {
				r.changed++
			}
		})
	}
	if !lacks {
		return nil
	}
	return r.mark(ctx, c)
}

func (r *deciding) count(change func(*store.Decided)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.note)
}
