package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// askFor bounds the wait for the first answer, pingFor that for others after it.
const askFor, pingFor = 2 * time.Second, 250 * time.Millisecond

// CountSyncers asks the micro service of the mode for its instances, and counts those that answer.
func CountSyncers(ctx context.Context, nc *nats.Conn, m entitlement.Mode) (n int, err error) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a connection that is gone has none
	if err := nc.PublishRequest(stripeevent.PingSubject(m), inbox, nil); err != nil {
		return 0, err
	}
	for wait := askFor; ; wait = pingFor {
		ctx, cancel := context.WithTimeout(ctx, wait)
		msg, err := sub.NextMsgWithContext(ctx)
		cancel()
		switch {
		case err == nil && len(msg.Data) == 0 &&
			msg.Header.Get("Status") == "503", errors.Is(err, nats.ErrNoResponders):
			return 0, nil
		case errors.Is(err, context.DeadlineExceeded) && n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
		var answer micro.Ping
		if json.Unmarshal(msg.Data, &answer) == nil {
			n++
		}
	}
}
