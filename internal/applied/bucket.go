package applied

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/streams"
	"entitled/internal/topology"
)

// The headers of an entry.
const (
	// ByHeader names the person or program that applied the document.
	ByHeader = "Entitled-By"
	// WhyHeader is the reason that they gave.
	WhyHeader = "Entitled-Why"
)

var (
	// ErrConflict means that another document was applied meanwhile.
	ErrConflict = errors.New("another document was applied meanwhile")
	// ErrNoVersion means that there is no version of this number.
	ErrNoVersion = errors.New("no such version")
	// ErrNoBucket means that the bucket does not exist.
	ErrNoBucket = errors.New("there is no bucket " + topology.PlansBucket)
)

// A Bucket is the documents of a mode.
type Bucket struct {
	js     jetstream.JetStream
	mode   entitlement.Mode
	stream jetstream.Stream
}

// Open opens the documents of a mode. It fails with [ErrNoBucket] if the bucket does not exist.
func Open(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode) (*Bucket, error) {
	s, err := js.Stream(ctx, streams.Stream(topology.PlansBucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, ErrNoBucket
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.PlansBucket, err)
	}
	return &Bucket{js, mode, s}, nil
}

// A Version is a document that was applied.
type Version struct {
	// Number is the document's, or the key's if the document cannot be read.
	Number   uint64
	At       time.Time
	By, Why  string
	Revision uint64
	// Document is nil if it cannot be read, for the reason in Err.
	Document *plans.Document
	Err      error
}

// An InForce is the document in force. The zero value says that none was applied, or that its entry
// was removed without a trace.
type InForce struct {
	Version
	// Deleted says that the entry was deleted. Revision is then that of the deletion.
	Deleted bool
}

// Present reports whether there is an entry, which may be unreadable.
func (f InForce) Present() bool { return f.Revision != 0 && !f.Deleted }

func (b *Bucket) subject(key string) string { return streams.Subject(topology.PlansBucket, key) }

func (b *Bucket) versionKey(number uint64) string {
	return string(b.mode) + "." + strconv.FormatUint(number, 10)
}

func version(m *jetstream.RawStreamMsg) Version {
	v := Version{At: m.Time, By: m.Header.Get(ByHeader), Why: m.Header.Get(WhyHeader), Revision: m.Sequence}
	v.Document, v.Err = Read(m.Data)
	if v.Err == nil {
		v.Number = v.Document.Number
	}
	return v
}

// Read reads a document as the bucket has it: canonical JSON, with a number.
func Read(data []byte) (*plans.Document, error) {
	d, _, err := plans.Parse(data)
	switch {
	case err != nil:
		return nil, err
	case d.Number == 0:
		return nil, errors.New("the document has no number")
	}
	return d, nil
}

// InForce returns the document in force.
func (b *Bucket) InForce(ctx context.Context) (InForce, error) {
	m, err := streams.Last(ctx, b.stream, b.subject(string(b.mode)))
	if err != nil {
		return InForce{}, fmt.Errorf("look for the document in force: %w", err)
	}
	if m == nil {
		return InForce{}, nil
	}
	if streams.Removed(m.Header) {
		return InForce{Version: Version{Revision: m.Sequence, At: m.Time}, Deleted: true}, nil
	}
	return InForce{Version: version(m)}, nil
}

// Version returns one version, or [ErrNoVersion].
func (b *Bucket) Version(ctx context.Context, number uint64) (Version, error) {
	m, err := streams.Last(ctx, b.stream, b.subject(b.versionKey(number)))
	if err != nil {
		return Version{}, fmt.Errorf("look for document %d: %w", number, err)
	}
	if m == nil || streams.Removed(m.Header) {
		return Version{}, fmt.Errorf("document %d: %w", number, ErrNoVersion)
	}
	v := version(m)
	v.Number = number
	return v, nil
}

// Documents returns a function that returns the document of a number, and whether it can be read. It
// reads each document once. There is always a document 0, nil: that of snapshots that were decided
// without one.
func (b *Bucket) Documents(ctx context.Context) func(number uint64) (*plans.Document, bool) {
	known := map[uint64]*plans.Document{}
	return func(number uint64) (*plans.Document, bool) {
		d, read := known[number]
		if !read && number != 0 {
			if v, err := b.Version(ctx, number); err == nil {
				d = v.Document
			}
			known[number] = d
		}
		return d, d != nil || number == 0
	}
}

// Default returns the grant that a document gives to every customer, nil if it gives none.
func (f InForce) Default() *entitlement.Grant {
	if f.Document == nil || f.Document.Default == nil {
		return nil
	}
	d := f.Document.Default
	return &entitlement.Grant{Source: entitlement.SourceDefault, Features: d.Features, Limits: d.Limits}
}

// Versions returns all versions in the order in which they were applied.
func (b *Bucket) Versions(ctx context.Context) ([]Version, error) {
	var all []Version
	prefix := b.subject(string(b.mode)) + "."
	for m, err := range streams.Messages(ctx, b.js, streams.Reading{
		Stream: streams.Stream(topology.PlansBucket), Subjects: []string{prefix + "*"},
	}) {
		if err != nil {
			return nil, fmt.Errorf("read the versions: %w", err)
		}
		number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, prefix), 10, 64)
		if err != nil || streams.Removed(m.Header) {
			continue // not ours
		}
		v := Version{
			Number: number, At: m.Stored, By: m.Header.Get(ByHeader), Why: m.Header.Get(WhyHeader), Revision: m.Seq,
		}
		v.Document, v.Err = Read(m.Data)
		all = append(all, v)
	}
	return all, nil
}

// Next returns the number of the next document: one more than every number that the document in
// force, a version or a snapshot has. greatest is the greatest plans_revision of the snapshots.
func (b *Bucket) Next(ctx context.Context, f InForce, greatest uint64) (uint64, error) {
	most := max(f.Number, greatest)
	versions, err := b.Versions(ctx)
	for _, v := range versions {
		most = max(most, v.Number)
	}
	return most + 1, err
}

// Apply puts a document in force over the one that over names, and stores it as a version, both or
// neither. It fails with [ErrConflict] if another document is in force now. After any other error
// the document may be in force or not: read again.
func (b *Bucket) Apply(ctx context.Context, d *plans.Document, over InForce, by, why string) error {
	id, value := rand.Text(), d.Encode()
	message := func(key string, sequence int, last uint64) *nats.Msg {
		m := nats.NewMsg(b.subject(key))
		m.Data = value
		m.Header.Set(ByHeader, by)
		if why != "" {
			m.Header.Set(WhyHeader, why)
		}
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(sequence))
		return m
	}
	nc := b.js.Conn()
	if err := nc.PublishMsg(message(b.versionKey(d.Number), 1, 0)); err != nil {
		return fmt.Errorf("apply document %d: %w", d.Number, err)
	}
	last := message(string(b.mode), 2, over.Revision)
	last.Header.Set("Nats-Batch-Commit", "1")
	reply, err := nc.RequestMsgWithContext(ctx, last)
	if err != nil {
		return fmt.Errorf("apply document %d: %w", d.Number, err)
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("apply document %d: decode the answer: %w", d.Number, err)
	}
	switch {
	case ack.Error == nil:
		return nil
	case ack.Error.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return ErrConflict
	}
	return fmt.Errorf("apply document %d: %w", d.Number, ack.Error)
}

// Put applies a document unless the one in force says the same, and returns the number of the one that
// is in force then. Its errors are those of Apply.
func (b *Bucket) Put(ctx context.Context, d *plans.Document, by, why string, now time.Time) (
	number uint64, changed bool, err error) {
	f, err := b.InForce(ctx)
	if err != nil {
		return 0, false, err
	}
	if f.Document != nil && Same(d, f.Document) {
		return f.Number, false, nil
	}
	diff, err := b.Compare(ctx, f, d, now, func(int64, int64) {})
	if err != nil {
		return 0, false, err
	}
	next := *d
	if next.Number, err = b.Next(ctx, f, diff.Greatest); err != nil {
		return 0, false, err
	}
	return next.Number, true, b.Apply(ctx, &next, f, by, why)
}

// Same reports whether two documents say the same, whatever their numbers.
func Same(a, b *plans.Document) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Number, y.Number = 0, 0
	return bytes.Equal(x.Encode(), y.Encode())
}

// A Progress is the entry decided.<mode> of stripe_state: how far the syncers are with deciding
// again.
type Progress struct {
	// Number is the document under which every snapshot is decided.
	Number uint64 `json:"number"`
	// Deciding is the document under which they are being decided again, 0 if they are not; Done of
	// Total snapshots are.
	Deciding uint64 `json:"deciding,omitempty"`
	Done     int64  `json:"done,omitempty"`
	Total    int64  `json:"total,omitempty"`
	// By names the syncer that decides them.
	By string `json:"by,omitempty"`
	// At is when the entry was written. While a syncer decides, it writes the entry every few seconds.
	At time.Time `json:"-"`
}

// ReadProgress reads how far deciding again is; the zero value if it was never begun.
func (b *Bucket) ReadProgress(ctx context.Context) (p Progress, err error) {
	kv, err := topology.OpenBucket(ctx, b.js, topology.StateBucket)
	if err != nil {
		return p, err
	}
	e, err := streams.Get(ctx, kv, "decided."+string(b.mode))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read how far the snapshots are decided: %w", err)
	}
	if json.Unmarshal(e.Value(), &p) != nil {
		p = Progress{}
	}
	p.At = e.Created()
	return p, nil
}
