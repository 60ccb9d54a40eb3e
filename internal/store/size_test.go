package store

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/protocol"
	"entitled/internal/topology"
)

func TestSizedErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want protocol.Disposition
	}{
		{"a message that NATS does not take", Sized(nats.ErrMaxPayload, topology.SyncedStream), protocol.Park},
		{"a message that its stream does not take",
			Sized(&jetstream.APIError{Code: 400, ErrorCode: codeTooLarge}, topology.SyncedStream), protocol.Park},
		{"a stream that is full", Sized(&jetstream.APIError{Code: 503, ErrorCode: 10077}, topology.SyncedStream),
			protocol.Again},
	} {
		if got := protocol.Dispose(fmt.Errorf("sync cus_1: %w", c.err)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
