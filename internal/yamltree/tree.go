package yamltree

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The limits of a text. They bound the time that the parser takes, which is quadratic for some texts.
const (
	MaxBytes   = 128 << 10
	MaxTokens  = 25_000
	maxEmpty   = 100 // lines in a row
	maxNesting = 16
	maxIndent  = 200
)

// A Node is a value in the text of a document.
type Node struct {
	Kind         Kind
	Line, Column int
	Text         string  // of a scalar, as it is written
	Number       uint64  // of a whole number
	Entries      []Entry // of a map
	Items        []*Node // of a list
}

// An Entry is a key of a map and its value.
type Entry struct {
	Key   *Node
	Value *Node
}

// A Kind is what a node is.
type Kind int

// The kinds.
const (
	Other Kind = iota // another number: with a fraction, below zero, octal
	Map
	List
	String
	Number
	Bool
	Null
)

func (k Kind) String() string {
	return [...]string{"another kind of number", "a map", "a list", "text", "a number", "true or false", "nothing"}[k]
}

// Parse reads the text without regard to its meaning, or returns what makes that impossible.
func Parse(text []byte) (*Node, []Remark) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if mistakes := checkText(text); mistakes != nil {
		return nil, mistakes
	}
	tokens := lexer.Tokenize(string(text))
	if mistakes := checkTokens(tokens); mistakes != nil {
		return nil, mistakes
	}
	// This package finds keys that occur twice, because the parser would stop at the first.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, []Remark{syntaxMistake(err)}
	}
	var docs []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	switch {
	case len(docs) == 0:
		return nil, []Remark{{1, 1, "the document is empty", "write {} if no plans are meant"}}
	case len(docs) > 1:
		at := docs[1].GetToken().Position
		return nil, []Remark{{at.Line, at.Column, "a second document begins", "a file holds one"}}
	}
	return treeOf(docs[0]), nil
}

// checkText returns what the lexer must not meet: bytes that are no text, and runs for which it
// takes quadratic time.
func checkText(text []byte) []Remark {
	at := func(i int, format string, args ...any) []Remark {
		before := text[:i]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
		return []Remark{{line, column, fmt.Sprintf(format, args...), ""}}
	}
	switch {
	case len(text) > MaxBytes:
		return at(0, "the document has %d bytes, and may have %d", len(text), MaxBytes)
	case !utf8.Valid(text):
		return at(0, "the document is not UTF-8")
	}
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if i := bytes.IndexFunc(text, control); i >= 0 {
		return at(i, "a control character cannot be in a plans document")
	}
	if i := bytes.Index(text, []byte("<<<<")); i >= 0 {
		return at(i, "<<<< cannot be in a plans document")
	}
	empty, i := 0, 0
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) > 0 {
			empty = 0
		} else if empty++; empty > maxEmpty {
			return at(i, "more than %d empty lines in a row", maxEmpty)
		}
		i += len(line)
	}
	return nil
}

// refused are the parts of YAML that a document cannot have: with them, a short text can stand for
// a huge document.
var refused = map[token.Type]string{
	token.AnchorType:     "an anchor (&)",
	token.AliasType:      "an alias (*)",
	token.MergeKeyType:   "a merge key (<<)",
	token.TagType:        "a tag (!)",
	token.DirectiveType:  "a directive (%)",
	token.MappingKeyType: "a key with a question mark (?)",
}

// checkTokens returns the mistakes that the parser must not meet: input that it has no bound for,
// and syntax to which it gives a meaning that a document does not have.
func checkTokens(tokens token.Tokens) (mistakes []Remark) {
	if len(tokens) > MaxTokens {
		text := fmt.Sprintf("the document has %d words and signs, and may have %d", len(tokens), MaxTokens)
		return []Remark{{1, 1, text, ""}}
	}
	flow, line, signs := 0, 0, 0
	for _, t := range tokens {
		at := t.Position
		add := func(text, hint string) { mistakes = append(mistakes, Remark{at.Line, at.Column, text, hint}) }
		if at.Line != line {
			line, signs = at.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			if flow <= 0 {
				signs++ // each may nest what follows on its line
			}
		case token.InvalidType:
			add("this is not YAML: "+t.Error, "")
			return mistakes
		}
		if name, ok := refused[t.Type]; ok {
			add(name+" cannot be in a plans document", quoteHint(t.Type))
		}
		deep := flow <= 0 && at.Column > maxIndent && first(t) && t.Type != token.CommentType
		if flow > maxNesting || signs > maxNesting || deep {
			add("nested too deep", "a document needs no more than 8 levels")
			return mistakes
		}
	}
	return mistakes
}

// first reports whether the token is the first of its line.
func first(t *token.Token) bool { return t.Prev == nil || t.Prev.Position.Line < t.Position.Line }

// quoteHint is for a character that text may have begun with.
func quoteHint(t token.Type) string {
	switch t {
	case token.AliasType, token.AnchorType, token.TagType, token.DirectiveType:
		return "text that begins with this character must be in quotes"
	}
	return ""
}

func syntaxMistake(err error) Remark {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		at := syntax.Token.Position
		return Remark{at.Line, at.Column, "this is not YAML: " + syntax.Message, ""}
	}
	return Remark{1, 1, "this is not YAML: " + err.Error(), ""}
}

func treeOf(n ast.Node) *Node {
	at := n.GetToken().Position
	out := &Node{Line: at.Line, Column: at.Column, Text: n.GetToken().Value}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.Kind = Map
		for _, v := range n.Values {
			out.add(v)
		}
	case *ast.MappingValueNode:
		out.Kind = Map
		out.add(n)
	case *ast.SequenceNode:
		out.Kind = List
		for _, v := range n.Values {
			out.Items = append(out.Items, treeOf(v))
		}
	case *ast.StringNode:
		out.Kind, out.Text = String, n.Value
	case *ast.LiteralNode:
		out.Kind, out.Text = String, n.Value.Value
	case *ast.IntegerNode:
		// An octal number, say, is not what the author of a number of seats means.
		if v, err := strconv.ParseUint(out.Text, 10, 64); err == nil && (v == 0 || out.Text[0] != '0') {
			out.Kind, out.Number = Number, v
		}
	case *ast.BoolNode:
		out.Kind = Bool
	case *ast.NullNode:
		out.Kind = Null
	}
	if len(out.Entries) > 0 && out.Text == ":" {
		// The parser's place of a map without braces is its first colon.
		out.Line, out.Column = out.Entries[0].Key.Line, out.Entries[0].Key.Column
	}
	return out
}

func (n *Node) add(v *ast.MappingValueNode) {
	e := Entry{Key: treeOf(v.Key), Value: &Node{Kind: Null}}
	if v.Value != nil {
		e.Value = treeOf(v.Value)
	}
	if e.Value.Kind == Null { // its place may be anywhere
		e.Value.Line, e.Value.Column = e.Key.Line, e.Key.Column
	}
	n.Entries = append(n.Entries, e)
}

// Show is the node for a message.
func (n *Node) Show() string {
	if n.Kind == Map || n.Kind == List || n.Kind == Null {
		return n.Kind.String()
	}
	text := n.Text
	if len(text) > 60 {
		text = strings.ToValidUTF8(text[:60], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}
