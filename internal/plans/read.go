package plans

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"entitled/entitlement/snapshot"
	"entitled/internal/yamltree"
)

// A reader makes a document of a tree. It goes on after a mistake, so that all are found at once.
type reader struct {
	doc                Document
	mistakes, warnings []Remark
}

func (r *reader) mistake(at *yamltree.Node, hint, format string, args ...any) {
	r.mistakes = append(r.mistakes, Remark{Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *reader) warn(at *yamltree.Node, hint, format string, args ...any) {
	r.warnings = append(r.warnings, Remark{Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// guess is the hint for a name that is none of the known ones.
func (r *reader) guess(name string, known []string) string {
	if len(r.mistakes) > 100 {
		return "" // a text that is no document at all; looking for similar names would take long
	}
	if s := similar(name, known); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	if len(known) > 12 {
		return ""
	}
	return "known: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// fields returns the values of a map by key. It finds keys that occur twice, and those that are not
// known; nil allows any key.
func (r *reader) fields(n *yamltree.Node, what string, known []string) map[string]*yamltree.Node {
	if n.Kind != yamltree.Map {
		r.mistake(n, "write it as key: value", "%s must be a map, and is %s", what, n.Kind)
		return nil
	}
	found := make(map[string]*yamltree.Node, len(n.Entries))
	for _, e := range n.Entries {
		name := e.Key.Text
		switch _, twice := found[name]; {
		case e.Key.Kind == yamltree.Map || e.Key.Kind == yamltree.List:
			r.mistake(e.Key, "", "a key must be text, and is %s", e.Key.Kind)
		case twice:
			r.mistake(e.Key, "keep one of the two", "%q is there twice in %s", name, what)
		case known != nil && !slices.Contains(known, name):
			r.mistake(e.Key, r.guess(name, known), "unknown key %q in %s", name, what)
			found[name] = nil
		case e.Value.Kind == yamltree.Null:
			r.mistake(e.Key, "give it a value or leave it out", "%q has no value", name)
			found[name] = nil
		default:
			found[name] = e.Value
		}
	}
	maps.DeleteFunc(found, func(_ string, v *yamltree.Node) bool { return v == nil })
	return found
}

// list returns the elements of a list; a value that is not a list counts as a list of one if single
// is set.
func (r *reader) list(n *yamltree.Node, what string, single bool) []*yamltree.Node {
	switch {
	case n.Kind == yamltree.List:
		return n.Items
	case single:
		return []*yamltree.Node{n}
	}
	r.mistake(n, "write it as [a, b]", "%s must be a list, and is %s", what, n.Kind)
	return nil
}

// names returns a list of names as a sorted set. It finds those that check has an objection to, and
// those that occur twice.
func (r *reader) names(n *yamltree.Node, what string, check func(*yamltree.Node) bool) []string {
	set := []string{}
	for _, item := range r.list(n, what, false) {
		switch {
		case !r.isText(item, "a name"), !check(item):
		case slices.Contains(set, item.Text):
			r.mistake(item, "keep one of the two", "%q is there twice in %s", item.Text, what)
		default:
			set = append(set, item.Text)
		}
	}
	slices.Sort(set)
	return set
}

// isText reports whether the node is text; what it would be is for the message.
func (r *reader) isText(n *yamltree.Node, what string) bool {
	if n.Kind == yamltree.String {
		return true
	}
	hint := ""
	if n.Kind == yamltree.Number || n.Kind == yamltree.Bool || n.Kind == yamltree.Other {
		hint = fmt.Sprintf("write %q in quotes if that is meant", n.Text)
	}
	r.mistake(n, hint, "%s must be text, and is %s", what, n.Kind)
	return false
}

// oneOf returns the text if it is one of the choices.
func (r *reader) oneOf(n *yamltree.Node, what string, choices ...string) string {
	if n.Kind == yamltree.String && slices.Contains(choices, n.Text) {
		return n.Text
	}
	hint := "write " + strings.Join(choices, " or ")
	if s := similar(n.Text, choices); s != "" && n.Kind == yamltree.String {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	r.mistake(n, hint, "%s cannot be %s", what, n.Show())
	return ""
}

func (r *reader) boolean(n *yamltree.Node, what string) bool {
	if n.Kind != yamltree.Bool {
		r.mistake(n, "write true or false", "%s must be true or false, and is %s", what, n.Show())
	}
	return n.Kind == yamltree.Bool && (n.Text == "true" || n.Text == "True" || n.Text == "TRUE")
}

const numberHint = "write a whole number from 0 to 9007199254740991"

// number returns a whole number from 0 to 2^53−1.
func (r *reader) number(n *yamltree.Node, what, hint string) int64 {
	if n.Kind != yamltree.Number || n.Number > uint64(snapshot.MaxLimit) {
		r.mistake(n, hint, "%s cannot be %s", what, n.Show())
		return 0
	}
	return int64(n.Number)
}

// name reports whether the node's text is a name of its kind, and one of the known names if those
// are given.
func (r *reader) name(n *yamltree.Node, what string, form *regexp.Regexp, known []string) bool {
	switch {
	case !form.MatchString(n.Text):
		r.mistake(n, nameHint(form), "%s cannot be the name of a %s", n.Show(), what)
	case reserved(n.Text):
		r.mistake(n, "", "%q is reserved and cannot be the name of a %s", n.Text, what)
	case known != nil && !slices.Contains(known, n.Text):
		r.mistake(n, r.guess(n.Text, known), "unknown %s %q", what, n.Text)
	default:
		return true
	}
	return false
}

func nameHint(form *regexp.Regexp) string {
	if form == featureName {
		return "it has 1 to 80 of A-Z a-z 0-9 _ . -"
	}
	return "it has 1 to 25 of a-z 0-9 _"
}
