// Package searchquery reads the part of Stripe's search query language that customers are searched
// with: clauses such as email:'a@b.example', name~"amy", metadata['user_id']:'42' or created>1700000000,
// each negated by a minus sign, joined by AND (or a blank) or by OR, but not by both. A backslash
// escapes a quote or a backslash in a value.
package searchquery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Query is a query that was read.
type Query struct {
	clauses []clause
	or      bool
}

type clause struct {
	not        bool
	field, key string // key is that of metadata
	op         string // : ~ < <= > >=
	value      string
	null       bool
}

const maxClauses = 10

var errMixed = errors.New("AND and OR cannot be combined in one query")

// Parse reads a query. numbers are the fields that are compared as numbers, and texts the others.
func Parse(text string, numbers, texts []string) (Query, error) {
	p := parser{rest: text}
	var q Query
	joined := ""
	for {
		c, err := p.clause()
		if err == nil {
			err = c.check(numbers, texts)
		}
		if err != nil {
			return Query{}, err
		}
		if q.clauses = append(q.clauses, c); len(q.clauses) > maxClauses {
			return Query{}, fmt.Errorf("more than %d clauses", maxClauses)
		}
		before := p.rest
		p.blanks()
		if p.rest == "" {
			return q, nil
		}
		if before == p.rest {
			return Query{}, fmt.Errorf("unexpected %q", clip(p.rest))
		}
		by := "AND"
		for _, word := range []string{"AND", "OR"} {
			if rest, ok := cutWord(p.rest, word); ok {
				p.rest, by = rest, word
			}
		}
		if joined != "" && by != joined {
			return Query{}, errMixed
		}
		joined, q.or = by, by == "OR"
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// check refuses fields and operators that do not exist.
func (c clause) check(numbers, texts []string) error {
	switch {
	case contains(numbers, c.field):
		if _, err := strconv.ParseInt(c.value, 10, 64); err != nil || c.op == "~" || c.null {
			return fmt.Errorf("field %s is a number", c.field)
		}
	case !contains(texts, c.field):
		return fmt.Errorf("field %s is not supported", clip(c.field))
	case c.op != ":" && c.op != "~":
		return fmt.Errorf("operator %s is not supported for field %s", c.op, c.field)
	case (c.field == "metadata") != (c.key != ""):
		return errors.New("metadata, and only metadata, has a key")
	case c.op == "~" && utf8.RuneCountInString(c.value) < 3:
		return errors.New("a substring has at least three characters")
	}
	return nil
}

// Match reports whether an object matches. get returns the value of a field, and of metadata that of
// a key; false if it has none.
func (q Query) Match(get func(field, key string) (string, bool)) bool {
	for _, c := range q.clauses {
		value, has := get(c.field, c.key)
		if (c.matches(value, has) != c.not) == q.or {
			return q.or
		}
	}
	return !q.or
}

// matches compares texts without case, as Stripe does.
func (c clause) matches(value string, has bool) bool {
	switch {
	case c.null:
		return !has
	case !has:
		return false
	case c.op == "~":
		return strings.Contains(strings.ToLower(value), strings.ToLower(c.value))
	case c.field != "created":
		return strings.EqualFold(value, c.value)
	}
	a, errA := strconv.ParseInt(value, 10, 64)
	b, errB := strconv.ParseInt(c.value, 10, 64)
	if errA != nil || errB != nil {
		return false
	}
	switch c.op {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	}
	return a == b
}

type parser struct{ rest string }

func (p *parser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

func (p *parser) clause() (c clause, err error) {
	p.blanks()
	if rest, ok := strings.CutPrefix(p.rest, "-"); ok {
		c.not, p.rest = true, rest
	}
	n := strings.IndexFunc(p.rest, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
	if n <= 0 {
		return c, fmt.Errorf("expected a field at %q", clip(p.rest))
	}
	c.field, p.rest = p.rest[:n], p.rest[n:]
	if rest, ok := strings.CutPrefix(p.rest, "["); ok {
		p.rest = rest
		if c.key, err = p.quoted(); err != nil {
			return c, err
		}
		if p.rest, ok = strings.CutPrefix(p.rest, "]"); !ok {
			return c, errors.New("expected ] after the key of metadata")
		}
	}
	for _, op := range []string{":", "~", "<=", ">=", "<", ">"} {
		if rest, ok := strings.CutPrefix(p.rest, op); ok {
			c.op, p.rest = op, rest
			break
		}
	}
	if c.op == "" {
		return c, fmt.Errorf("expected an operator at %q", clip(p.rest))
	}
	if rest, ok := cutWord(p.rest, "null"); ok && c.op == ":" {
		c.null, p.rest = true, rest
		return c, nil
	}
	if n := strings.IndexFunc(p.rest, func(r rune) bool { return r < '0' || r > '9' }); n != 0 && p.rest != "" {
		if n < 0 {
			n = len(p.rest)
		}
		c.value, p.rest = p.rest[:n], p.rest[n:]
		return c, nil
	}
	c.value, err = p.quoted()
	return c, err
}

func (p *parser) quoted() (string, error) {
	if p.rest == "" || p.rest[0] != '\'' && p.rest[0] != '"' {
		return "", fmt.Errorf("expected a quote at %q", clip(p.rest))
	}
	quote := p.rest[0]
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == quote:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is not closed")
}

// cutWord cuts a word that ends at a blank or at the end.
func cutWord(s, word string) (string, bool) {
	rest, ok := strings.CutPrefix(s, word)
	return rest, ok && (rest == "" || strings.ContainsRune(" \t\n", rune(rest[0])))
}

func clip(s string) string {
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
