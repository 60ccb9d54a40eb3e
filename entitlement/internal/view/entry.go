package view

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"entitled/entitlement/snapshot"
)

// An Entry is what the client knows about one key: what decides, in a compact form, and the whole
// snapshot as the JSON that it was read from, unless [View].DecisionsOnly. It is immutable,
// except for seen.
type Entry struct {
	Key      string
	Revision uint64 // of the newest entry of the key, readable or not, which may be a deletion
	// seen is the number of the last load that received the key. Only the goroutine that follows
	// the bucket uses it.
	seen uint32

	asOfNanos   uint32
	asOfSeconds int64
	known       bool // there is a snapshot to answer with, the last readable one
	deleted     bool
	earlier     bool   // an earlier version of entitled wrote it: it has no grants, but access or not
	id          string // as in the snapshot
	status      string
	grants      []held
	encoded     string
	unreadable  *unreadable // why the newest entry is unreadable; nil if it is not
}

type unreadable struct{ error }

// A held grant has its own source and end, and shares the rest with all equal grants.
type held struct {
	source string
	until  int64
	terms  *snapshot.Grant // without source; its Until is nil if the grant is open-ended
}

// grant returns the grant. Its Until is part of the entry.
func (h *held) grant() snapshot.Grant {
	g := *h.terms
	g.Source = h.source
	if g.Until != nil {
		g.Until = &h.until
	}
	return g
}

// The ends of a grant that has none, and of no grant at all.
const (
	Open  int64 = math.MaxInt64
	Never int64 = math.MinInt64
)

func (h *held) end() int64 {
	if h.terms.Until == nil {
		return Open
	}
	return h.until
}

// A compactor makes entries of snapshots. Only one goroutine uses it.
type compactor struct {
	// DecisionsOnly makes entries keep what decides, without the JSON.
	DecisionsOnly bool
	terms         map[string]*snapshot.Grant
	statuses      map[string]string
	scratch       []byte
}

// shared bounds what a compactor remembers in order to share it. Customers have a few dozen
// different grants, but whatever is in a note, a quantity or a status may differ for each.
const shared = 4096

// entry returns the entry of a snapshot of the key, without revision and seen. The strings of the
// Snapshot are parts of encoded.
func (c *compactor) entry(key string, s *snapshot.Snapshot, encoded string) *Entry {
	e := &Entry{
		Key: key, known: true, deleted: s.Deleted, id: s.ID, status: c.status(s.Status), encoded: encoded,
		asOfSeconds: s.AsOf.Unix(), asOfNanos: uint32(s.AsOf.Nanosecond()),
		earlier: s.Grants == nil,
	}
	if s.Account == "" && s.Customer == key {
		e.Key = s.Customer // the key may be part of a longer string
	}
	grants := s.Grants
	if e.earlier && s.Access {
		grants = []snapshot.Grant{{Features: s.Features, Until: s.AccessUntil}}
	}
	if len(grants) > 0 {
		e.grants = make([]held, len(grants))
		for i := range grants {
			g := &grants[i]
			e.grants[i] = held{source: g.Source, terms: c.share(g)}
			if g.Until != nil {
				e.grants[i].until = *g.Until
			}
		}
	}
	if c.DecisionsOnly {
		e.encoded = ""
		e.id = strings.Clone(e.id)
		for i := range e.grants {
			e.grants[i].source = strings.Clone(e.grants[i].source)
		}
	}
	if c.DecisionsOnly || s.Account != "" || s.Customer != key {
		e.Key = strings.Clone(key)
	}
	return e
}

// status returns a copy of the status that all entries share.
func (c *compactor) status(status string) string {
	if known, ok := c.statuses[status]; ok {
		return known
	}
	if c.statuses == nil || len(c.statuses) >= shared {
		c.statuses = map[string]string{}
	}
	status = strings.Clone(status)
	c.statuses[status] = status
	return status
}

// share returns the terms of a grant, the same for equal ones.
func (c *compactor) share(g *snapshot.Grant) *snapshot.Grant {
	b := c.scratch[:0]
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	list := func(all []string) {
		b = binary.AppendUvarint(b, uint64(len(all)))
		for _, s := range all {
			text(s)
		}
	}
	numbers := func(m map[string]snapshot.Limit) {
		b = binary.AppendUvarint(b, uint64(len(m)))
		if len(m) == 0 {
			return
		}
		var room [8]string
		for _, name := range sortedKeys(room[:0], m) {
			text(name)
			b = binary.AppendUvarint(b, uint64(m[name]))
		}
	}
	list(g.Plans)
	list(g.Features)
	numbers(g.Limits)
	numbers(g.Adds)
	text(g.Note)
	if g.Until != nil {
		b = append(b, 1)
	}
	c.scratch = b
	if terms, ok := c.terms[string(b)]; ok {
		return terms
	}
	terms := &snapshot.Grant{
		Plans: cloned(g.Plans), Features: cloned(g.Features), Note: strings.Clone(g.Note),
		Limits: clonedMap(g.Limits), Adds: clonedMap(g.Adds),
	}
	if g.Until != nil {
		terms.Until = new(int64)
	}
	if c.terms == nil || len(c.terms) >= shared {
		c.terms = map[string]*snapshot.Grant{}
	}
	c.terms[string(b)] = terms
	return terms
}

func sortedKeys(list []string, m map[string]snapshot.Limit) []string {
	list = slices.AppendSeq(list, maps.Keys(m))
	slices.Sort(list)
	return list
}

// cloned is a copy that keeps no longer string in memory.
func cloned(list []string) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = strings.Clone(s)
	}
	return all
}

func clonedMap(m map[string]snapshot.Limit) map[string]snapshot.Limit {
	all := make(map[string]snapshot.Limit, len(m))
	for name, l := range m {
		all[strings.Clone(name)] = l
	}
	return all
}

// Known reports whether there is a snapshot to answer with. The receiver may be nil.
func (e *Entry) Known() bool { return e != nil && e.known }

func has(g *snapshot.Grant, feature string) bool {
	_, ok := slices.BinarySearch(g.Features, feature)
	return ok
}

// FeatureEnd is when the last grant that lists the feature ends.
func (e *Entry) FeatureEnd(feature string) int64 {
	end := Never
	for i := range e.grants {
		if h := &e.grants[i]; h.end() > end && has(h.terms, feature) {
			end = h.end()
		}
	}
	return end
}

// AccessEnd is when the last grant other than the default ends.
func (e *Entry) AccessEnd() int64 {
	end := Never
	for i := range e.grants {
		if h := &e.grants[i]; h.source != snapshot.SourceDefault {
			end = max(end, h.end())
		}
	}
	return end
}

// Err says why the newest entry of the key is unreadable, or is nil.
func (e *Entry) Err() error {
	if e.unreadable == nil {
		return nil
	}
	return e.unreadable.error
}

// deciding returns a snapshot with what readers decide from, its grants in room if there is enough.
func (e *Entry) deciding(room []snapshot.Grant) snapshot.Snapshot {
	for i := range e.grants {
		room = append(room, e.grants[i].grant())
	}
	return snapshot.Snapshot{Customer: e.Key, Deleted: e.deleted, Grants: room}
}

// decision returns the part of the snapshot that [View].DecisionsOnly keeps. Access,
// features and limits follow from its grants.
func (e *Entry) decision(mode snapshot.Mode) snapshot.Snapshot {
	account, customer, err := snapshot.ParseKey(e.Key)
	if err != nil {
		panic("parse a key again: " + err.Error()) // it was parsed when it arrived
	}
	s := snapshot.Snapshot{
		Schema: snapshot.Schema, Customer: customer, Account: account, ID: e.id, Livemode: mode == snapshot.Live,
		Deleted: e.deleted, Status: e.status, AsOf: time.Unix(e.asOfSeconds, int64(e.asOfNanos)).UTC(),
	}
	if !e.earlier {
		s.Grants, s.Limits = make([]snapshot.Grant, len(e.grants)), map[string]snapshot.Limit{}
	}
	end := Never
	for i := range e.grants {
		g := e.grants[i].grant()
		if e.earlier {
			s.Access, s.Features, s.AccessUntil = true, slices.Clone(g.Features), g.Until
			break
		}
		s.Grants[i] = g
		if s.AsOf.Unix() >= e.grants[i].end() {
			continue
		}
		if g.Source != snapshot.SourceDefault {
			s.Access, end = true, max(end, e.grants[i].end())
		}
		s.Features = append(s.Features, g.Features...)
		for _, numbers := range []map[string]snapshot.Limit{g.Limits, g.Adds} {
			for name := range numbers {
				s.Limits[name] = 0
			}
		}
	}
	for name := range s.Limits {
		s.Limits[name], _ = s.Limit(name, s.AsOf)
	}
	if s.Access && !e.earlier && end != Open {
		s.AccessUntil = &end
	}
	slices.Sort(s.Features)
	s.Features = append([]string{}, slices.Compact(s.Features)...)
	s.Metadata, s.Subscriptions = map[string]string{}, []snapshot.Subscription{}
	return s
}
