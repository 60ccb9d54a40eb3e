package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A Connection says what to connect and whom to tell about it.
type Connection struct {
	NATS NATS
	// Name is the connection's, as `nats server report connections` shows it.
	Name string
	// Log defaults to none.
	Log *slog.Logger
	// Ready learns about the condition "nats". Defaults to nobody.
	Ready *Readiness
	// OnError, if set, is called with every asynchronous error, one at a time; it must not block. A missing permission is
	// [nats.ErrPermissionViolation], and the request that lacked it times out.
	OnError func(error)
	// OnClosed, if set, is called once when the connection has ended for good: closed by its owner (nil), or by a server
	// that answered with an error after which the client does not come back.
	OnClosed func(error)
	// Options come last and win: [nats.InProcessServer] for an embedded server, nats.RetryOnFailedConnect(false) for a
	// command that should fail when there is no server.
	Options []nats.Option
}

const conditionNATS = "nats"

const (
	reconnectWait = 500 * time.Millisecond // plus a jitter of as much, so that a fleet does not return as one
	pingInterval  = 20 * time.Second       // a dead path is noticed after three of them
	drainTimeout  = 5 * time.Second
	quietPeriod   = 10 * time.Second // between two lines of the log about the same kind of trouble
)

// Connect tries each server once (2 s at most) and returns a connection that, if need be, keeps trying: for ever, whether the
// servers are away, restart or refuse the credentials. Until it has succeeded the condition "nats" does not hold. The error is
// one of the options'.
//
// What is published while there is no connection fails at once and is not kept for later: those who wait for an
// acknowledgement learn that there will be none.
func Connect(c Connection) (*nats.Conn, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ready == nil {
		c.Ready = NewReadiness(slog.New(slog.DiscardHandler))
	}
	h := &handlers{Connection: c}
	options := []nats.Option{
		nats.Name(c.Name),
		nats.CustomInboxPrefix(c.NATS.inboxPrefix()),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.DrainTimeout(drainTimeout),
		nats.ConnectHandler(h.connected),
		nats.ReconnectHandler(h.connected),
		nats.ReconnectErrHandler(h.unreachable),
		nats.DisconnectErrHandler(h.disconnected),
		nats.ErrorHandler(h.failed),
		nats.ClosedHandler(h.closed),
	}
	own, err := c.NATS.options()
	if err != nil {
		return nil, err
	}
	c.Ready.expect(conditionNATS)
	nc, err := nats.Connect(c.NATS.URL, slices.Concat(options, own, c.Options)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", redact(c.NATS.URL), err)
	}
	go h.watch(nc, nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)) // ends with the connection
	return nc, nil
}

// handlers are called by the client, one at a time and in order; but for watch.
type handlers struct {
	Connection
	denied, other limiter

	mu    sync.Mutex // of the condition "nats" and of reach: watch must not undo what connected says
	reach limiter
}

func (h *handlers) connected(nc *nats.Conn) {
	h.Log.Info("connected to NATS", "url", redact(nc.ConnectedUrl()), "server_version", nc.ConnectedServerVersion())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ready.Set(conditionNATS, nil)
}

// watch reports why the client cannot connect again where it calls nobody: after TLS or the login has failed.
func (h *handlers) watch(nc *nats.Conn, changes chan nats.Status) {
	defer nc.RemoveStatusListener(changes)
	for !nc.IsClosed() {
		if <-changes == nats.CLOSED {
			return
		}
		// The last error may also be one of before the connection was lost, so only those of connecting count.
		if err := nc.LastError(); err != nil && ConnectHint(err) != "" {
			h.mu.Lock()
			if !nc.IsConnected() && !nc.IsClosed() {
				h.cannotConnect(err)
			}
			h.mu.Unlock()
		}
	}
}

func (h *handlers) unreachable(_ *nats.Conn, err error) {
	if errors.Is(err, nats.ErrNoServers) { // the first try, summed up; the next tells why
		h.Ready.Set(conditionNATS, fmt.Errorf("cannot connect to %s, trying again", redact(h.NATS.URL)))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cannotConnect(err)
}

// cannotConnect must be called with mu held. Servers that fail differently in turn must not fill the log.
func (h *handlers) cannotConnect(err error) {
	if _, ok := h.reach.allow(time.Now()); ok {
		err = fmt.Errorf("cannot connect to %s, trying again: %w", redact(h.NATS.URL), err)
		if hint := ConnectHint(err); hint != "" {
			err = fmt.Errorf("%w (hint: %s)", err, hint)
		}
		h.Ready.Set(conditionNATS, err)
	}
}

func (h *handlers) disconnected(nc *nats.Conn, err error) {
	switch {
	case nc.IsClosed() || nc.IsDraining():
	case err != nil:
		h.Ready.Set(conditionNATS, fmt.Errorf("disconnected, connecting again: %w", err))
	default:
		h.Ready.Set(conditionNATS, errors.New("disconnected, connecting again"))
	}
}

func (h *handlers) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	kind, message := &h.other, "NATS reports an error"
	if errors.Is(err, nats.ErrPermissionViolation) {
		kind, message = &h.denied, "the NATS user lacks a permission"
	}
	if dropped, ok := kind.allow(time.Now()); ok {
		attrs := []any{"err", err, "not_logged_before", dropped}
		if sub != nil {
			attrs = append(attrs, "subject", sub.Subject)
		}
		h.Log.Error(message, attrs...)
	}
	if h.OnError != nil {
		h.OnError(err)
	}
}

func (h *handlers) closed(nc *nats.Conn) {
	err := nc.LastError()
	h.Ready.Set(conditionNATS, errors.New("connection closed"))
	if h.OnClosed != nil {
		h.OnClosed(err)
	}
}

// A limiter lets one line through per quietPeriod and counts the others.
// It must not be called from two goroutines at once.
type limiter struct {
	next    time.Time
	dropped int
}

func (l *limiter) allow(now time.Time) (dropped int, ok bool) {
	if now.Before(l.next) {
		l.dropped++
		return 0, false
	}
	dropped, l.dropped = l.dropped, 0
	l.next = now.Add(quietPeriod)
	return dropped, true
}
