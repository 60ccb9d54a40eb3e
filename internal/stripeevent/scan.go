package stripeevent

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// This file is a JSON scanner that checks a whole document in one pass, as strictly as
// encoding/json, and keeps the positions of the few values that an [Envelope] is made of. It
// decodes nothing else: a webhook body is 5 to 100 KB of which some 100 bytes matter here.

// maxDepth is the greatest depth of nested objects and arrays, the same as in encoding/json.
const maxDepth = 10_000

// span is the position of a value in the document. The zero span is an absent value.
type span struct{ from, to int }

type scanner struct {
	doc   []byte
	found [slots]span
	// inObject has a bit for each level that skip has open: set for an object, clear for an array.
	inObject [maxDepth/64 + 1]uint64
}

// scan reports whether the document is valid JSON, and fills found.
func (s *scanner) scan() bool {
	i := space(s.doc, 0)
	if i < len(s.doc) && s.doc[i] == '{' {
		i = s.object(i, slotRoot, 1)
	} else {
		i = s.skip(i, 0)
	}
	return i >= 0 && space(s.doc, i) == len(s.doc)
}

// object reads the object that starts at i and returns the position after it, or -1. It recurses
// only into objects whose members have slots, so its recursion is bounded; depth counts this
// object.
func (s *scanner) object(i int, in slot, depth int) int {
	doc := s.doc
	i = space(doc, i+1)
	if i < len(doc) && doc[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(doc) || doc[i] != '"' {
			return -1
		}
		end := text(doc, i)
		if end < 0 {
			return -1
		}
		to := member(in, key(doc[i:end]))
		if i = space(doc, end); i >= len(doc) || doc[i] != ':' {
			return -1
		}
		i = space(doc, i+1)
		from := i
		if to != slotSkip && i < len(doc) && doc[i] == '{' {
			for t := to; t < below(to); t++ {
				s.found[t] = span{}
			}
			i = s.object(i, to, depth+1)
		} else {
			i = s.skip(i, depth)
		}
		if i < 0 {
			return -1
		}
		if to != slotSkip {
			if doc[from] != '{' {
				for t := to + 1; t < below(to); t++ {
					s.found[t] = span{}
				}
			}
			s.found[to] = span{from, i}
		}
		if i = space(doc, i); i >= len(doc) {
			return -1
		}
		switch doc[i] {
		case '}':
			return i + 1
		case ',':
			i = space(doc, i+1)
		default:
			return -1
		}
	}
}

// key returns the text of a quoted key. Keys with escapes are rare enough to decode in full.
func key(quoted []byte) []byte {
	raw := quoted[1 : len(quoted)-1]
	for _, c := range raw {
		if c == '\\' {
			return []byte(unquote(quoted))
		}
	}
	return raw
}

// unquote returns the text of a quoted string that [text] has found valid. It leaves escapes, lone
// surrogates and invalid UTF-8 to encoding/json.
func unquote(quoted []byte) string {
	raw := quoted[1 : len(quoted)-1]
	ascii := true
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return string(raw)
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // cannot fail: text has checked it
	return s
}

// skip checks the value that starts at i and returns the position after it, or -1. outer is the
// number of objects and arrays around it. It does not recurse, so a hostile document costs no
// stack.
func (s *scanner) skip(i, outer int) int {
	doc := s.doc
	depth := outer
	for {
		// A value starts at i.
		if i >= len(doc) {
			return -1
		}
		switch c := doc[i]; c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return -1
			}
			i = space(doc, i+1)
			if i >= len(doc) {
				return -1
			}
			if c == '[' {
				s.inObject[depth>>6] &^= 1 << (depth & 63)
				if doc[i] != ']' {
					continue
				}
			} else {
				s.inObject[depth>>6] |= 1 << (depth & 63)
				if doc[i] != '}' {
					if i = name(doc, i); i < 0 {
						return -1
					}
					continue
				}
			}
			i++
			depth--
		case '"':
			i = text(doc, i)
		case 't':
			i = literal(doc, i, "true")
		case 'f':
			i = literal(doc, i, "false")
		case 'n':
			i = literal(doc, i, "null")
		default:
			i = number(doc, i)
		}
		if i < 0 {
			return -1
		}
		if i, depth = s.after(i, outer, depth); i < 0 || depth == outer {
			return i
		}
	}
}

// after closes the objects and arrays that end behind the value before i, down to depth outer. It
// returns the depth reached and the position of the next value, or of the end of the outer value;
// -1 if the document is not valid.
func (s *scanner) after(i, outer, depth int) (next, level int) {
	doc := s.doc
	for depth > outer {
		if i = space(doc, i); i >= len(doc) {
			return -1, depth
		}
		object := s.inObject[depth>>6]>>(depth&63)&1 == 1
		c := doc[i]
		i++
		if c == ',' {
			if i = space(doc, i); object {
				i = name(doc, i)
			}
			return i, depth
		}
		if object && c != '}' || !object && c != ']' {
			return -1, depth
		}
		depth--
	}
	return i, depth
}

// name checks the key that starts at i and its colon, and returns where its value starts, or -1.
func name(doc []byte, i int) int {
	if i >= len(doc) || doc[i] != '"' {
		return -1
	}
	if i = text(doc, i); i < 0 {
		return -1
	}
	if i = space(doc, i); i >= len(doc) || doc[i] != ':' {
		return -1
	}
	return space(doc, i+1)
}

func literal(doc []byte, i int, word string) int {
	if len(doc)-i < len(word) || string(doc[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// space returns the first position from i on that is not JSON white space. It skips runs of spaces
// eight at a time, because Stripe indents its bodies.
func space(doc []byte, i int) int {
	for i < len(doc) {
		switch doc[i] {
		case ' ':
			for i+8 <= len(doc) {
				if n := bits.TrailingZeros64(binary.LittleEndian.Uint64(doc[i:])^(' '*ones)) >> 3; n < 8 {
					i += n
					break
				}
				i += 8
			}
			if i >= len(doc) || doc[i] > ' ' {
				return i
			}
			if doc[i] == ' ' {
				i++
			}
		case '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// text checks the string whose opening quote is at i and returns the position after its closing
// quote, or -1.
func text(doc []byte, i int) int {
	i++
	for {
		// Eight bytes at a time up to the first quote, backslash or control byte. Each mask's
		// lowest bit is exact (borrows only spread upwards), and only the lowest of all is used.
		for i+8 <= len(doc) {
			w := binary.LittleEndian.Uint64(doc[i:])
			quote := w ^ ('"' * ones)
			slash := w ^ ('\\' * ones)
			m := ((quote-ones)&^quote | (slash-ones)&^slash | (w-' '*ones)&^w) & highs
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(doc) {
			return -1
		}
		switch c := doc[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(doc, i+1); i < 0 {
				return -1
			}
		case c < ' ':
			return -1
		default:
			i++
		}
	}
}

// escape checks what follows a backslash and returns the position after it, or -1.
func escape(doc []byte, i int) int {
	if i >= len(doc) {
		return -1
	}
	switch doc[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+4 >= len(doc) {
			return -1
		}
		for _, c := range doc[i+1 : i+5] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return -1
			}
		}
		return i + 5
	}
	return -1
}

// number checks the number that starts at i and returns the position after it, or -1.
func number(doc []byte, i int) int {
	if doc[i] == '-' {
		i++
	}
	switch {
	case i < len(doc) && doc[i] == '0':
		i++
	default:
		if i = digits(doc, i); i < 0 {
			return -1
		}
	}
	if i < len(doc) && doc[i] == '.' {
		if i = digits(doc, i+1); i < 0 {
			return -1
		}
	}
	if i < len(doc) && (doc[i] == 'e' || doc[i] == 'E') {
		i++
		if i < len(doc) && (doc[i] == '+' || doc[i] == '-') {
			i++
		}
		return digits(doc, i)
	}
	return i
}

// digits returns the position after one digit or more at i, or -1.
func digits(doc []byte, i int) int {
	from := i
	for i < len(doc) && '0' <= doc[i] && doc[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
