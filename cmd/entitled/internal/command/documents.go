package command

import (
	"context"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/named"
	"entitled/internal/plans"
	"entitled/internal/tell"
)

// Documents returns the plans documents that can be read, and the default of the one in force. Without
// the bucket or the permission to read it there are none.
func (p *Pipeline) Documents(ctx context.Context) (tell.Documents, *entitlement.Grant) {
	asking, cancel := context.WithTimeout(ctx, AnswerWithin)
	defer cancel()
	b, err := applied.Open(asking, p.JS, p.Mode)
	if err != nil {
		return func(number uint64) (*plans.Document, bool) { return nil, number == 0 }, nil
	}
	inForce, err := b.InForce(asking)
	if err != nil {
		return b.Documents(ctx), nil
	}
	return b.Documents(ctx), inForce.Default()
}

// Decoded returns the snapshot of an entry.
func Decoded(e named.Entry) (entitlement.Snapshot, error) {
	s, err := e.Snapshot()
	if err != nil {
		err = tell.WithHint(err, "upgrade this tool, or look at the entry with --json")
	}
	return s, err
}
