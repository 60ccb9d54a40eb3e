package plans

import (
	"cmp"
	"slices"
	"strings"

	"entitled/internal/yamltree"
)

// The limits of a document.
const (
	maxPlans    = 500
	maxFeatures = 1000
	maxLimits   = 200
	maxPatterns = 100 // of one plan and field
	maxPattern  = 200 // bytes of one pattern; Stripe's lookup keys end there
)

// A Remark is a mistake in a document, or a warning about it.
type Remark = yamltree.Remark

// An InvalidError has every mistake that was found in a document, in the order of the text.
type InvalidError struct {
	Mistakes []Remark
}

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return "plans document: " + strings.Join(lines, "; ")
}

// Parse reads a document: YAML, or JSON, which is YAML too. It returns an [InvalidError] with all
// mistakes for a text that is not a document, and warnings about a document that is one.
func Parse(text []byte) (d *Document, warnings []Remark, err error) {
	root, mistakes := yamltree.Parse(text)
	if mistakes != nil {
		return nil, nil, &InvalidError{mistakes}
	}
	var r reader
	r.document(root)
	inOrder(r.mistakes)
	inOrder(r.warnings)
	if r.mistakes != nil {
		return nil, r.warnings, &InvalidError{r.mistakes}
	}
	return &r.doc, r.warnings, nil
}

func inOrder(remarks []Remark) {
	slices.SortStableFunc(remarks, func(a, b Remark) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
