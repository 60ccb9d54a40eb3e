package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Extent is when the first and the last event of the slice's mode, account and customer were stored, whatever their types: what tells a
// slice in which nothing happened from one that is spelt wrong. Both are zero if the log has none.
func (l *Log) Extent(ctx context.Context, s Slice) (first, last time.Time, err error) {
	subject := Slice{Mode: s.Mode, Account: s.Account, Customer: s.Customer}.filters()[0]
	m, err := l.events.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
	if err == nil {
		first = m.Time.UTC()
		m, err = l.events.GetLastMsgForSubject(ctx, subject)
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // or forgotten in between
		return time.Time{}, time.Time{}, nil
	case err != nil:
		return time.Time{}, time.Time{}, fmt.Errorf("read %s: %w", subject, err)
	}
	return first, m.Time.UTC(), nil
}
