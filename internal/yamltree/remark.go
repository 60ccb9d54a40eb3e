package yamltree

import "fmt"

// A Remark is a mistake in a document, or a warning about it.
type Remark struct {
	// Line and Column begin at 1. Column counts characters.
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
	// Hint says what to write instead, as the end of a sentence; it may be empty.
	Hint string `json:"hint,omitempty"`
}

// String returns the remark in one line: 12:9: unknown feature "exprot", did you mean "export"?
func (r Remark) String() string { return fmt.Sprintf("%d:%d: %s", r.Line, r.Column, r.Message()) }

// Message returns the remark without its place.
func (r Remark) Message() string {
	if r.Hint == "" {
		return r.Text
	}
	return r.Text + ", " + r.Hint
}
