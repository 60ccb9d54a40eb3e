package audit

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/syncer"
)

// runningWithin bounds the question. Where no syncer is, the server says so at once.
const runningWithin = time.Second

// Running says whether a syncer of the mode is there: the micro service of one answers. It is nil where that cannot be told, as for a user
// who may not ask.
func (l *Log) Running(ctx context.Context, m entitlement.Mode) *bool {
	ctx, cancel := context.WithTimeout(ctx, runningWithin)
	defer cancel()
	_, err := l.js.Conn().RequestWithContext(ctx, syncer.PingSubject(m), nil)
	running := err == nil
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	return &running
}
