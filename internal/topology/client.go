package topology

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// answerWithin bounds one request to JetStream's API, except in Keep.
	answerWithin = 5 * time.Second
	// refusedWithin is how often a request without an answer is checked for a refusal.
	refusedWithin = 5 * time.Millisecond
)

// client sends requests to JetStream's API and distinguishes a refusal from silence. The server
// does not answer a request that the user may not send: the reason arrives only as an error of the
// connection.
type client struct {
	js jetstream.JetStream
	// within bounds one request.
	within time.Duration
}

func connected(js jetstream.JetStream) (client, error) {
	return client{js, answerWithin}, CheckServer(js.Conn())
}

// do calls send, which requests subject (without the API's prefix), and returns its error, or a
// [*DeniedError] as soon as the server has refused the request.
func (c client) do(ctx context.Context, subject string, send func(context.Context) error) error {
	nc := c.js.Conn()
	before := nc.LastError()
	ctx, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- send(ctx) }() // ends with ctx, and is received below in every case
	tick := time.NewTicker(refusedWithin)
	defer tick.Stop()
	for {
		select {
		case err := <-answer:
			return c.explained(err, subject)
		case <-tick.C:
			// Every violation is a new error value, so an earlier one with the same text is not
			// mistaken for this one.
			if last := nc.LastError(); last != before && refuses(nc, last, subject) {
				cancel()
				if err := <-answer; err == nil {
					return nil
				}
				return &DeniedError{Subject: subject, Err: last}
			}
		}
	}
}

func (c client) explained(err error, subject string) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("JetStream is disabled for this account or in this server: enable it: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf(
			"no answer to $JS.API.%s: the cluster has no leader for it, or this NATS user gets no replies: %w",
			subject, err)
	}
	return NameNoRoom(err)
}

// refuses reports whether err is the server's refusal of the request, or of the inbox for its
// answer.
func refuses(nc *nats.Conn, err error, subject string) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	inbox := nc.Opts.InboxPrefix
	if inbox == "" {
		inbox = nats.InboxPrefix
	}
	text := err.Error()
	return strings.Contains(text, "."+subject+`"`) ||
		strings.Contains(text, `Subscription to "`+strings.TrimSuffix(inbox, ".")+".")
}

// The oldest server version with all features that the streams use.
const oldestMajor, oldestMinor = 2, 14

// CheckServer returns a [*ServerVersionError] if the connected server is older than 2.14, and
// another error if nc is not connected.
func CheckServer(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	if version == "" {
		return errors.New("not connected to NATS")
	}
	if !Supported(version) {
		return &ServerVersionError{Version: version, URL: nc.ConnectedUrlRedacted()}
	}
	return nil
}

// Supported reports whether a NATS server of this version has all features that the streams use.
func Supported(version string) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	return major > oldestMajor || major == oldestMajor && minor >= oldestMinor
}

// Ask calls send, which requests subject (without the API's prefix) of js, and returns its error,
// or a [*DeniedError] as soon as the server has refused the request.
func Ask(ctx context.Context, js jetstream.JetStream, subject string, send func(context.Context) error) error {
	return client{js, answerWithin}.do(ctx, subject, send)
}
