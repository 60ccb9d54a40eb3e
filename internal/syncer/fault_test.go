package syncer

import "fmt"

// A fault is what goes wrong with the nth call of op.
type fault struct {
	op     string
	nth    int
	kind   faultKind
	killed bool
}

func (f fault) String() string {
	s := fmt.Sprintf("%s %s", f.op, f.kind)
	if f.killed {
		s += ", killed there"
	}
	return s
}

type faultKind string

const (
	notApplied faultKind = "fails and was not applied"
	applied    faultKind = "fails but was applied"
	late       faultKind = "answers after the deadline"
)

var allKinds = []faultKind{notApplied, applied, late}
