package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A Connection configures [Connect].
type Connection struct {
	NATS NATS
	// Name is the name of the connection in `nats server report connections`.
	Name string
	// Log defaults to no logging.
	Log *slog.Logger
	// Ready receives the condition "nats". Defaults to none.
	Ready *Readiness
	// Condition is the name of that condition. Defaults to "nats".
	Condition string
	// OnError, if set, is called with every asynchronous error, one at a time; it must not block. A
	// missing permission is a [nats.ErrPermissionViolation], and the request that lacked it times
	// out.
	OnError func(error)
	// OnClosed, if set, is called once when the connection is closed for good: by its owner (nil),
	// or after an error of the server after which the client does not reconnect.
	OnClosed func(error)
	// Options are applied last: [nats.InProcessServer] for an embedded server,
	// nats.RetryOnFailedConnect(false) for a command that must fail without a server.
	Options []nats.Option
}

const conditionNATS = "nats"

const (
	reconnectWait = 500 * time.Millisecond // plus up to as much jitter, so that a fleet does not reconnect at once
	pingInterval  = 20 * time.Second       // a dead connection is noticed after three
	drainTimeout  = 5 * time.Second
	quietPeriod   = 10 * time.Second // shortest time between two log lines of one kind
)

// Connect tries each server once (2 s at most) and returns a connection that keeps trying if
// necessary, forever, whether the servers are down, restarting or refusing the credentials. Until
// it is connected, the condition "nats" does not hold. The error is that of an option.
//
// A message published without a connection fails at once and is not buffered, so its publisher does
// not wait for an acknowledgment that cannot come.
func Connect(c Connection) (*nats.Conn, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Condition = cmp.Or(c.Condition, conditionNATS)
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
	c.Ready.expect(c.Condition)
	nc, err := nats.Connect(c.NATS.URL, slices.Concat(options, own, c.Options)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", redact(c.NATS.URL), err)
	}
	go h.watch(nc, nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)) // ends with the connection
	return nc, nil
}

// handlers are called by the client one at a time and in order, except watch.
type handlers struct {
	Connection
	denied, other limiter

	mu    sync.Mutex // guards the condition "nats" and reach: watch must not overwrite what connected sets
	reach limiter
}

func (h *handlers) connected(nc *nats.Conn) {
	h.Log.Info("connected to NATS", "url", redact(nc.ConnectedUrl()), "server_version", nc.ConnectedServerVersion())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ready.Set(h.Condition, nil)
}

// watch reports why the client cannot reconnect when it calls no handler: after TLS or the login
// failed.
func (h *handlers) watch(nc *nats.Conn, changes chan nats.Status) {
	defer nc.RemoveStatusListener(changes)
	for !nc.IsClosed() {
		if <-changes == nats.CLOSED {
			return
		}
		// The last error may be older than the disconnect, so only errors of connecting count.
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
	if errors.Is(err, nats.ErrNoServers) { // a summary of the first try; the next try has the reason
		h.Ready.Set(h.Condition, fmt.Errorf("cannot connect to %s, retrying", redact(h.NATS.URL)))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cannotConnect(err)
}

// cannotConnect requires mu. It limits the log, since each server of the list may fail differently.
func (h *handlers) cannotConnect(err error) {
	if _, ok := h.reach.allow(time.Now()); ok {
		err = fmt.Errorf("cannot connect to %s, retrying: %w", redact(h.NATS.URL), err)
		if hint := ConnectHint(err); hint != "" {
			err = fmt.Errorf("%w (hint: %s)", err, hint)
		}
		h.Ready.Set(h.Condition, err)
	}
}

func (h *handlers) disconnected(nc *nats.Conn, err error) {
	switch {
	case nc.IsClosed() || nc.IsDraining():
	case err != nil:
		h.Ready.Set(h.Condition, fmt.Errorf("disconnected, reconnecting: %w", err))
	default:
		h.Ready.Set(h.Condition, errors.New("disconnected, reconnecting"))
	}
}

func (h *handlers) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	kind, message := &h.other, "asynchronous error of NATS"
	if errors.Is(err, nats.ErrPermissionViolation) {
		kind, message = &h.denied, "the NATS user lacks a permission: compare it with nats.conf"
	}
	if suppressed, ok := kind.allow(time.Now()); ok {
		attrs := []any{"err", err, "suppressed", suppressed}
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
	h.Ready.Set(h.Condition, errors.New("connection closed"))
	if h.OnClosed != nil {
		h.OnClosed(err)
	}
}

// A limiter allows one log line per quietPeriod and counts the others. It is not safe for
// concurrent use.
type limiter struct {
	next       time.Time
	suppressed int
}

func (l *limiter) allow(now time.Time) (suppressed int, ok bool) {
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	l.next = now.Add(quietPeriod)
	return suppressed, true
}
