package audit

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// runningWithin bounds the request. If there is no syncer, the server answers at once.
const runningWithin = time.Second

// Running reports whether a syncer of the mode answers as a micro service. It is nil if that is
// unknown, as for a user that may not send the request.
func (l *Log) Running(ctx context.Context, m entitlement.Mode) *bool {
	ctx, cancel := context.WithTimeout(ctx, runningWithin)
	defer cancel()
	_, err := l.js.Conn().RequestWithContext(ctx, stripeevent.PingSubject(m), nil)
	running := err == nil
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	return &running
}
