package audit_test

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// What is erased while it is read does not come, and is not waited for.
func TestReadingOfWhatIsErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_a"}
	const events = 40
	for range events { // more than the client holds ahead
		if _, err := r.js.Publish(t.Context(), stripeevent.EventSubject(c, "invoice.paid"), bytes.Repeat([]byte(" "), 500_000)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := r.log.Events(t.Context(), audit.Slice{Mode: entitlement.Test}, audit.EventsOptions{Bodies: true}, func(*audit.Event) error {
		if n++; n > 1 {
			return nil
		}
		stream, err := r.js.Stream(t.Context(), topology.EventsStream)
		if err != nil {
			return err
		}
		return stream.Purge(t.Context(), jetstream.WithPurgeSubject(stripeevent.EventSubject(c, "invoice.paid")))
	})
	if err != nil || n == 0 || n == events {
		t.Errorf("%d of %d events, %v; want those that were on their way", n, events, err)
	}
}
