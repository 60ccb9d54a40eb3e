package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A codec writes a snapshot as JSON, or reads exactly what it writes: every field in its order, no
// space, no null, no escape. encoding/json takes several times as long. Anything else is left to
// encoding/json: what is read then sets bad.
type codec struct {
	out     []byte // written so far
	in      string // read from at
	at      int
	reading bool
	bad     bool
	more    bool // a comma comes before the next field or element
}

// A presence says when a field is absent.
type presence int

const (
	always presence = iota
	unlessNil
	unlessEmpty
)

func (p presence) of(isNil bool, n int) bool { return p == always || p == unlessNil && !isNil || n > 0 }

func (c *codec) snapshot(s *Snapshot) {
	c.open("{")
	number(c, "schema", always, &s.Schema)
	c.text("customer", always, &s.Customer)
	c.text("account", unlessEmpty, &s.Account)
	c.text("id", unlessEmpty, &s.ID)
	c.truth("livemode", always, &s.Livemode)
	c.truth("deleted", unlessEmpty, &s.Deleted)
	c.text("status", always, &s.Status)
	c.truth("access", always, &s.Access)
	c.pointer("access_until", &s.AccessUntil)
	c.texts("features", always, &s.Features)
	table(c, "limits", unlessNil, &s.Limits, (*codec).limit)
	list(c, "grants", unlessNil, &s.Grants, (*codec).grant)
	c.texts("entitlements", unlessNil, &s.Entitlements)
	table(c, "metadata", always, &s.Metadata, (*codec).quoted)
	list(c, "subscriptions", always, &s.Subscriptions, (*codec).subscription)
	c.texts("omitted", unlessEmpty, &s.Omitted)
	c.pointer("next_boundary", &s.NextBoundary)
	list(c, "problems", unlessEmpty, &s.Problems, (*codec).problem)
	number(c, "plans_revision", unlessEmpty, &s.PlansRevision)
	number(c, "facts_revision", unlessEmpty, &s.FactsRevision)
	c.instant("as_of", &s.AsOf)
	c.instant("changed_at", &s.ChangedAt)
	c.field("cause", true, true)
	c.cause(&s.Cause)
	c.close("}")
}

func (c *codec) cause(v *Cause) {
	c.open("{")
	c.text("trigger", always, &v.Trigger)
	c.text("event", unlessEmpty, &v.Event)
	c.text("type", unlessEmpty, &v.Type)
	c.close("}")
}

func (c *codec) grant(g *Grant) {
	c.open("{")
	c.text("source", always, &g.Source)
	c.texts("plans", always, &g.Plans)
	c.texts("features", always, &g.Features)
	table(c, "limits", always, &g.Limits, (*codec).limit)
	table(c, "adds", always, &g.Adds, (*codec).limit)
	c.pointer("until", &g.Until)
	c.text("note", unlessEmpty, &g.Note)
	c.close("}")
}

func (c *codec) problem(p *Problem) {
	c.open("{")
	c.text("source", always, &p.Source)
	c.text("word", always, &p.Word)
	c.text("value", unlessEmpty, &p.Value)
	c.text("problem", always, (*string)(&p.Kind))
	c.close("}")
}

func (c *codec) subscription(s *Subscription) {
	c.open("{")
	c.text("id", always, &s.ID)
	c.text("status", always, &s.Status)
	c.truth("access", always, &s.Access)
	list(c, "items", always, &s.Items, (*codec).item)
	number(c, "current_period_start", always, &s.CurrentPeriodStart)
	number(c, "current_period_end", always, &s.CurrentPeriodEnd)
	c.truth("cancel_at_period_end", always, &s.CancelAtPeriodEnd)
	c.pointer("cancel_at", &s.CancelAt)
	c.pointer("canceled_at", &s.CanceledAt)
	c.pointer("ended_at", &s.EndedAt)
	c.pointer("trial_end", &s.TrialEnd)
	if c.field("pause_collection", s.PauseCollection != nil, false) {
		p := made(&s.PauseCollection)
		c.open("{")
		c.text("behavior", always, &p.Behavior)
		c.pointer("resumes_at", &p.ResumesAt)
		c.close("}")
	}
	if c.field("payment_method", s.PaymentMethod != nil, false) {
		m := made(&s.PaymentMethod)
		c.open("{")
		c.text("type", always, &m.Type)
		c.text("brand", unlessEmpty, &m.Brand)
		c.text("last4", unlessEmpty, &m.Last4)
		c.close("}")
	}
	table(c, "metadata", always, &s.Metadata, (*codec).quoted)
	c.close("}")
}

func (c *codec) item(it *Item) {
	c.open("{")
	c.text("id", always, &it.ID)
	c.text("price", always, &it.Price)
	c.text("product", always, &it.Product)
	c.text("lookup_key", unlessEmpty, &it.LookupKey)
	c.pointer("quantity", &it.Quantity)
	table(c, "metadata", unlessEmpty, &it.Metadata, (*codec).quoted)
	c.close("}")
}

// made returns what *p points to, which is new if it is nil.
func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// field writes a field's name if it is present, and reports whether a value follows.
func (c *codec) field(name string, present, required bool) bool {
	switch {
	case !c.reading && !present:
		return false
	case !c.reading:
		c.comma()
		c.out = append(append(append(c.out, '"'), name...), `":`...)
		return true
	}
	rest := c.in[c.at:]
	if c.more {
		rest = strings.TrimPrefix(rest, ",")
	}
	n := len(name)
	if len(c.in)-c.at == len(rest) && c.more || len(rest) < n+3 || rest[0] != '"' || rest[1:n+1] != name ||
		rest[n+1] != '"' || rest[n+2] != ':' {
		c.bad = c.bad || required
		return false
	}
	c.at, c.more = len(c.in)-len(rest)+n+3, true
	return true
}

func (c *codec) comma() {
	if c.more {
		c.literal(",")
	}
	c.more = true
}

func (c *codec) open(bracket string)  { c.literal(bracket); c.more = false }
func (c *codec) close(bracket string) { c.literal(bracket); c.more = true }

func (c *codec) literal(s string) {
	switch {
	case !c.reading:
		c.out = append(c.out, s...)
	case !c.bad && strings.HasPrefix(c.in[c.at:], s):
		c.at += len(s)
	default:
		c.bad = true
	}
}

// next reports whether the text goes on with s, which it then passes.
func (c *codec) next(s string) bool {
	if c.bad || !strings.HasPrefix(c.in[c.at:], s) {
		return false
	}
	c.at += len(s)
	return true
}

func (c *codec) text(name string, p presence, v *string) {
	if c.field(name, p.of(false, len(*v)), p == always) {
		c.quoted(v)
	}
}

// quoted is a string, which is read without a copy.
func (c *codec) quoted(v *string) {
	if !c.reading {
		c.out = appendQuoted(c.out, *v)
		return
	}
	c.literal(`"`)
	rest := c.in[c.at:]
	end := strings.IndexByte(rest, '"')
	if end < 0 || !unescaped(rest[:end]) {
		c.bad = true
		return
	}
	*v, c.at = rest[:end], c.at+end+1
}

// unescaped reports whether a string is the same in JSON, without escapes.
func unescaped(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(s) && !strings.ContainsAny(s, "\u2028\u2029")
}

func appendQuoted(b []byte, s string) []byte {
	if unescaped(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	// The JSON is not embedded in HTML, and escaping would turn each <, > and & into six bytes.
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string: cannot fail
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

func (c *codec) truth(name string, p presence, v *bool) {
	if !c.field(name, p == always || *v, p == always) {
		return
	}
	switch {
	case !c.reading:
		c.out = strconv.AppendBool(c.out, *v)
	case c.next("true"):
		*v = true
	default:
		c.literal("false")
	}
}

func number[T int | int64 | uint64](c *codec, name string, p presence, v *T) {
	if !c.field(name, p == always || *v != 0, p == always) {
		return
	}
	n := int64(*v)
	switch {
	case c.reading:
		c.whole(&n)
		*v = T(n)
		c.bad = c.bad || n < 0 && *v > 0 // uint64
	case n < 0 && *v > 0:
		c.out = strconv.AppendUint(c.out, uint64(*v), 10)
	default:
		c.whole(&n)
	}
}

func (c *codec) pointer(name string, v **int64) {
	if c.field(name, *v != nil, false) {
		c.whole(made(v))
	}
}

// whole is a whole number, which has at most 18 digits if it is read.
func (c *codec) whole(n *int64) {
	if !c.reading {
		c.out = strconv.AppendInt(c.out, *n, 10)
		return
	}
	minus := c.next("-")
	first, sum := c.at, int64(0)
	for ; c.at < len(c.in) && c.in[c.at]-'0' <= 9; c.at++ {
		sum = sum*10 + int64(c.in[c.at]-'0')
	}
	digits := c.at - first
	if digits == 0 || digits > 18 || c.in[first] == '0' && (digits > 1 || minus) {
		c.bad = true
	}
	if *n = sum; minus {
		*n = -sum
	}
}

func (c *codec) limit(l *Limit) {
	const unlimited = `"` + unlimitedText + `"`
	switch {
	case !c.reading && *l == Unlimited:
		c.literal(unlimited)
	case c.reading && c.next(unlimited):
		*l = Unlimited
	default:
		c.whole((*int64)(l))
		c.bad = c.bad || c.reading && (*l < 0 || *l > MaxLimit)
	}
}

func (c *codec) instant(name string, t *time.Time) {
	if !c.field(name, true, true) {
		return
	}
	if !c.reading {
		var err error
		c.out = append(c.out, '"')
		if c.out, err = t.AppendText(c.out); err != nil {
			// The years are within RFC 3339's.
			panic(fmt.Sprintf("encode %s of a snapshot: %v", name, err))
		}
		c.out = append(c.out, '"')
		return
	}
	var text string
	if c.quoted(&text); !c.bad && t.UnmarshalText([]byte(text)) != nil {
		c.bad = true
	}
}

func (c *codec) texts(name string, p presence, v *[]string) { list(c, name, p, v, (*codec).quoted) }

// another reports whether another element of a list or table is to be read.
func (c *codec) another(bracket string) bool {
	if c.bad || c.next(bracket) {
		c.more = true
		return false
	}
	c.comma()
	return !c.bad
}

func list[T any](c *codec, name string, p presence, v *[]T, element func(*codec, *T)) {
	if !c.field(name, p.of(*v == nil, len(*v)), p == always) {
		return
	}
	if !c.reading && *v == nil {
		c.literal("null")
		return
	}
	c.open("[")
	if c.reading {
		*v = []T{}
		for c.another("]") {
			*v = append(*v, *new(T))
			element(c, &(*v)[len(*v)-1])
		}
		return
	}
	for i := range *v {
		c.comma()
		element(c, &(*v)[i])
	}
	c.close("]")
}

// table is a map, written in the order of its keys.
func table[T any](c *codec, name string, p presence, v *map[string]T, element func(*codec, *T)) {
	if !c.field(name, p.of(*v == nil, len(*v)), p == always) {
		return
	}
	if !c.reading && *v == nil {
		c.literal("null")
		return
	}
	c.open("{")
	if c.reading {
		*v = map[string]T{}
		for c.another("}") {
			var key string
			var e T
			c.quoted(&key)
			c.literal(":")
			element(c, &e)
			(*v)[key] = e
		}
		return
	}
	if len(*v) > 0 { // most are empty
		for _, key := range slices.Sorted(maps.Keys(*v)) {
			e := (*v)[key]
			c.comma()
			c.quoted(&key)
			c.literal(":")
			element(c, &e)
		}
	}
	c.close("}")
}

// decodeOwn decodes a snapshot that is written as a codec writes it. Its strings are parts of encoded.
func decodeOwn(encoded string) (s Snapshot, ok bool) {
	c := codec{in: encoded, reading: true}
	c.snapshot(&s)
	return s, !c.bad && c.at == len(c.in)
}
