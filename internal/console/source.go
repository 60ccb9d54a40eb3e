package console

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/console/directory"
	"entitled/internal/inspect"
	"entitled/internal/named"
	"entitled/internal/tell"
	"entitled/internal/topology"
)

// A source opens the streams and buckets of the pipeline when a page first needs them, and keeps them
// open.
type source struct {
	nc   *nats.Conn
	mode entitlement.Mode

	mu        sync.Mutex
	log       *audit.Log
	inspector *inspect.Inspector
}

// errAway says that NATS is not there.
var errAway = errors.New("NATS is away")

// jetStream returns the connection's JetStream.
func (s *source) jetStream() (jetstream.JetStream, error) {
	if !s.nc.IsConnected() {
		return nil, errAway
	}
	return jetstream.New(s.nc)
}

// openLog returns the history of the pipeline.
func (s *source) openLog(ctx context.Context) (*audit.Log, error) {
	js, err := s.jetStream()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		s.log, err = keep(audit.Open(ctx, js))
	}
	return s.log, err
}

// openInspector returns the state of the mode's work.
func (s *source) openInspector(ctx context.Context) (*inspect.Inspector, error) {
	js, err := s.jetStream()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inspector == nil {
		s.inspector, err = keep(inspect.Open(ctx, js, s.mode))
	}
	return s.inspector, err
}

// keep drops a value that comes with an error, so that it is opened again.
func keep[T any](v *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// The sentences of a page that cannot be shown because of NATS.
const (
	awayTitle = "NATS is away"
	awayHint  = "this page shows itself again when NATS is back; check that NATS runs, and the console's " +
		"NATS_URL and user"
)

// problemOf says what an error means for a page.
func (c *Console) problemOf(err error) problem {
	var known problem
	var hinted tell.Hinted
	unavailable := func(title string, err error, hint string) problem {
		return problem{http.StatusServiceUnavailable, title, tell.Hinted{Err: err, Hint: hint}}
	}
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, directory.ErrReading):
		return unavailable("Still reading", err, "this page shows the result by itself in a moment; the key of a "+
			"customer, cus_…, is found at once")
	case errors.Is(err, errAway), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded):
		return unavailable(awayTitle, errors.New("the console has no connection to NATS"), awayHint)
	case errors.Is(err, named.ErrNoBucket), errors.Is(err, entitlement.ErrNoBucket),
		errors.Is(err, topology.ErrNoPipeline), errors.Is(err, jetstream.ErrStreamNotFound): // deleted since it was opened
		return unavailable("No pipeline here yet", err, "ingest and the syncer create the streams and buckets when "+
			"they start; `entitled topology` shows those of this NATS")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return unavailable("NATS does not answer", err, "this page tries again by itself; the servers may be electing a "+
			"leader, or this NATS user may not read: use the user ops, and run `entitled doctor`")
	case errors.As(err, &hinted):
		return problem{http.StatusUnprocessableEntity, "That did not work", hinted}
	}
	c.cfg.Log.Error("could not show a page", "err", err)
	return problem{http.StatusInternalServerError, "This page failed", tell.Hinted{Err: err,
		Hint: "the console's log has the error; `entitled doctor` checks the pipeline"}}
}
