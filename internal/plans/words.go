package plans

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"entitled/entitlement/snapshot"
)

// The words are keys in Stripe's metadata that grant as a plans document does. Nothing else in
// metadata has a meaning.
const (
	wordPrefix   = "entitled_"
	wordPlan     = "entitled_plan"
	wordFeatures = "entitled_features"
	wordLimit    = "entitled_limit_" // and the limit's name
	wordAdd      = "entitled_add_"   // and the limit's name
	wordUntil    = "entitled_until"
	wordNote     = "entitled_note"
)

func isWord(key string) bool { return strings.HasPrefix(key, wordPrefix) }

// metadataKey reports whether the text can be a key of Stripe's metadata.
func metadataKey(text string) bool {
	return text != "" && len(text) <= 40 && !strings.ContainsAny(text, "[]")
}

// PriceWords returns the entries of a price's metadata that are words: what a snapshot keeps of it.
// It is nil without any.
func PriceWords(metadata map[string]string) map[string]string {
	var words map[string]string
	for key, value := range metadata {
		if isWord(key) {
			if words == nil {
				words = map[string]string{}
			}
			words[key] = value
		}
	}
	return words
}

// words are what the metadata of one object says.
type words struct {
	plans    []string
	features []string
	limits   map[string]Amount
	adds     map[string]Amount
	until    *int64
	// void says that entitled_until cannot be read, so that the customer's grant does not count.
	void bool
	note string
}

// A problems is a set, by value.
type problems map[snapshot.Problem]struct{}

func (p problems) add(source, word, value string, kind snapshot.ProblemKind) {
	const most = 80
	if len(value) > most {
		value = value[:most]
	}
	p[snapshot.Problem{Source: source, Word: word, Value: strings.ToValidUTF8(value, ""), Kind: kind}] = struct{}{}
}

// maxProblems is how many a snapshot has at most.
const maxProblems = 100

// list returns the problems, sorted.
func (p problems) list() []snapshot.Problem {
	if len(p) == 0 {
		return nil
	}
	all := slices.SortedFunc(maps.Keys(p), func(a, b snapshot.Problem) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Word, b.Word),
			cmp.Compare(a.Value, b.Value), cmp.Compare(a.Kind, b.Kind))
	})
	return all[:min(len(all), maxProblems)]
}

// A speaker is an object whose metadata is read: what it is, and its name in problems.
type speaker struct {
	on     string // OnPrice, OnSubscription or OnCustomer
	source string
}

// read returns what the metadata of an object says, and adds what it cannot read to the problems.
func (d *Document) read(by speaker, metadata map[string]string, bad problems) (w words) {
	if !d.listens(by.on) {
		return w
	}
	for key, value := range metadata {
		name, isLimit := strings.CutPrefix(key, wordLimit)
		added, isAdd := strings.CutPrefix(key, wordAdd)
		switch {
		case !isWord(key):
		case key == wordPlan:
			w.plans = d.plansIn(by, value, bad)
		case key == wordFeatures:
			w.features = d.featuresIn(by, value, bad)
		case isLimit:
			if a, ok := d.amountIn(by, key, name, value, true, bad); ok {
				w.limits = with(w.limits, name, a)
			}
		case isAdd:
			if a, ok := d.amountIn(by, key, added, value, false, bad); ok {
				w.adds = with(w.adds, added, a)
			}
		case by.on == OnCustomer && key == wordUntil:
			until, ok := parseUntil(value)
			if w.until, w.void = &until, !ok; !ok {
				bad.add(by.source, key, value, snapshot.ProblemBadUntil)
			}
		case by.on == OnCustomer && key == wordNote:
			w.note = value
		default:
			bad.add(by.source, key, "", snapshot.ProblemUnknownWord)
		}
	}
	return w
}

func with(m map[string]Amount, name string, a Amount) map[string]Amount {
	if m == nil {
		m = map[string]Amount{}
	}
	m[name] = a
	return m
}

// listens reports whether words count on such an object.
func (d *Document) listens(on string) bool {
	if d.Metadata == nil {
		return on == OnPrice
	}
	return slices.Contains(d.Metadata, on)
}

// split returns the parts of a list separated by commas, sorted, without those that are empty.
func split(list string) []string {
	var parts []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

func (d *Document) plansIn(by speaker, value string, bad problems) (known []string) {
	for _, name := range split(value) {
		if _, ok := d.Plans[name]; ok {
			known = append(known, name)
		} else {
			bad.add(by.source, wordPlan, name, snapshot.ProblemUnknownPlan)
		}
	}
	return known
}

func (d *Document) featuresIn(by speaker, value string, bad problems) (known []string) {
	for _, name := range split(value) {
		switch {
		case !featureName.MatchString(name) || reserved(name):
			bad.add(by.source, wordFeatures, name, snapshot.ProblemBadName)
		case d.Features != nil && !slices.Contains(d.Features, name):
			bad.add(by.source, wordFeatures, name, snapshot.ProblemUnknownFeature)
		default:
			known = append(known, name)
		}
	}
	return known
}

// amountIn reads the value of a word about the limit of a name: 10, 10/unit, or unlimited where
// that may be.
func (d *Document) amountIn(by speaker, word, name, value string, unlimited bool, bad problems) (a Amount, ok bool) {
	kind := snapshot.ProblemKind("")
	a, kind = parseAmount(strings.TrimSpace(value), unlimited)
	switch {
	case !shortName.MatchString(name) || reserved(name):
		bad.add(by.source, word, "", snapshot.ProblemBadName)
	case d.Limits != nil && !slices.Contains(d.Limits, name):
		bad.add(by.source, word, "", snapshot.ProblemUnknownLimit)
	case kind != "":
		bad.add(by.source, word, value, kind)
	default:
		return a, true
	}
	return Amount{}, false
}

var wholeNumber = regexp.MustCompile(`^-?[0-9]+$`)

// parseAmount returns the amount, or the kind of problem that the text has.
func parseAmount(text string, unlimited bool) (Amount, snapshot.ProblemKind) {
	if text == snapshot.Unlimited.String() && unlimited {
		return Amount{Unlimited: true}, ""
	}
	digits, perUnit := strings.CutSuffix(text, "/unit")
	if digits = strings.TrimSpace(digits); !wholeNumber.MatchString(digits) {
		return Amount{}, snapshot.ProblemBadNumber
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > int64(snapshot.MaxLimit) {
		return Amount{}, snapshot.ProblemOutOfRange
	}
	if perUnit {
		return Amount{PerUnit: n}, ""
	}
	return Amount{Base: n}, ""
}

// lastInstant is the last second of the year 9999. A later number counts milliseconds.
const lastInstant = 253402300799

// parseUntil reads unix seconds, or a UTC date, whose end it is.
func parseUntil(text string) (unix int64, ok bool) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.AddDate(0, 0, 1).Unix(), true
	}
	if !wholeNumber.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0 && n <= lastInstant
}
