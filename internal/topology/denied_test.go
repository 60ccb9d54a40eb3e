package topology_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
)

// The subjects that each user must not use. JetStream's API consists of subjects too.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	// No user but ops may do these to any stream.
	const streams = "STRIPE_EVENTS STRIPE_SYNC STRIPE_SYNCED KV_stripe_pace KV_stripe_state KV_entitlements_live " +
		"KV_entitlements_test KV_entitled_plans"
	var everybody []string
	for stream := range strings.FieldsSeq(streams) {
		for _, verb := range []string{"DELETE", "UPDATE", "SNAPSHOT", "RESTORE", "PEER.REMOVE", "LEADER.STEPDOWN"} {
			everybody = append(everybody, "$JS.API.STREAM."+verb+"."+stream)
		}
		if stream != "STRIPE_SYNC" {
			everybody = append(everybody, "$JS.API.STREAM.PURGE."+stream, "$JS.API.STREAM.MSG.DELETE."+stream)
		}
	}
	// Only ops applies a document.
	everybody = append(everybody, "$KV.entitled_plans.live", "$KV.entitled_plans.live.1")
	everybody = append(everybody,
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.LIST",
		"$JS.API.CONSUMER.CREATE.STRIPE_SYNC", "$JS.API.CONSUMER.CREATE.STRIPE_SYNC.mine",
		"$JS.API.CONSUMER.CREATE.STRIPE_SYNC.mine.stripe.sync.live.now.>",
		"$JS.API.CONSUMER.DURABLE.CREATE.STRIPE_SYNC.mine",
		"$JS.API.CONSUMER.DELETE.STRIPE_SYNC.syncer_live_now",
		"$JS.API.CONSUMER.PAUSE.STRIPE_SYNC.syncer_live_now",
		"$JS.API.META.LEADER.STEPDOWN", "$SYS.REQ.SERVER.PING", "other",
		"_INBOX.somebody.1", "_INBOX_ops.somebody.1")

	read := func(stream string) []string {
		return []string{
			"$JS.API.STREAM.INFO." + stream, "$JS.API.DIRECT.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".a.b",
			"$JS.API.STREAM.MSG.GET." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".mine",
			"$JS.API.CONSUMER.CREATE." + stream + ".mine.a.>", "$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".mine",
			"$JS.API.CONSUMER.MSG.NEXT." + stream + ".mine",
		}
	}

	writes := []string{
		"$KV.entitlements_live.cus_1", "$KV.entitlements_test.cus_1", "$KV.stripe_pace.cus_1",
		"$KV.stripe_state.budget.live", "stripe.synced.live.self.cus_1", "stripe.sync.live.bulk.self.cus_1",
		"stripe.wake.live.self.cus_1", "stripe.cron.live.sweep", "stripe.job.live.sweep",
		"$JS.API.STREAM.PURGE.STRIPE_SYNC", "$JS.API.STREAM.MSG.DELETE.STRIPE_SYNC",
		"$JS.ACK.STRIPE_SYNC.syncer_live_now.1.1.1.1.0",
		"$JS.API.CONSUMER.CREATE.STRIPE_SYNC.syncer_live_now.stripe.sync.live.now.>",
		"$JS.API.CONSUMER.MSG.NEXT.STRIPE_SYNC.syncer_live_now",
	}
	// The requests that manage mirrors, in either account.
	mirrors := []string{"$JS.APPS.API.STREAM.DELETE.KV_entitlements_live",
		"$JS.ENTITLED.API.CONSUMER.CREATE.KV_entitlements_live",
		"$JS.API.CONSUMER.CREATE.KV_entitlements_live", "mirror.apps.x"}
	apps := slices.Concat(everybody, writes, read("STRIPE_EVENTS"), read("STRIPE_SYNC"), read("STRIPE_SYNCED"),
		read("KV_stripe_state"),
		read("KV_stripe_pace"), mirrors,
		[]string{"stripe.event.live.self.cus_1.invoice.paid", "stripe.sync.live.now.self.cus_1", "$JS.API.STREAM.NAMES",
			"$JS.API.STREAM.CREATE.STRIPE_EVENTS", "$JS.API.STREAM.CREATE.KV_entitlements_live",
			"$JS.API.CONSUMER.DURABLE.CREATE.KV_entitlements_live.mine"})
	listens := []string{">", "*", "stripe.>", "stripe.event.live.>", "$KV.>", "$KV.entitlements_live.>",
		"$JS.>", "$JS.API.>",
		"$JS.ACK.>", "_INBOX_ops.>", "$SYS.>", "mirror.apps.>", "$JS.M.>", "_R_.>"}
	for _, user := range []struct {
		name                 string
		publishes, subscribe []string
	}{{
		name: "ingest",
		publishes: slices.Concat(everybody, writes, read("STRIPE_SYNCED"), read("KV_entitlements_live"),
			read("KV_stripe_state"), read("KV_entitled_plans"),
			read("STRIPE_EVENTS")[1:], read("STRIPE_SYNC")[1:],
			[]string{"entitled.sync.live", "$JS.API.STREAM.CREATE.STRIPE_SYNCED",
				"$JS.API.STREAM.CREATE.KV_entitlements_live", "$JS.API.INFO"}, mirrors),
		subscribe: slices.Concat(listens, []string{
			"entitled.sync.*", "$SRV.>", "_INBOX.>", "_INBOX_syncer.>", "_INBOX_app.>",
		}),
	}, {
		name: "syncer",
		publishes: slices.Concat(everybody,
			[]string{"stripe.sync.live.lane.self.cus_1", "entitled.sync.live", "$KV.other.cus_1",
				"$JS.API.STREAM.CREATE.KV_other", "$JS.API.DIRECT.GET.OTHER", "$JS.API.INFO",
				"$JS.APPS.API.STREAM.CREATE.KV_other",
				"$JS.APPS.API.STREAM.UPDATE.KV_entitlements_live", "mirror.apps.x"}),
		subscribe: slices.Concat(listens, []string{"entitled.>", "_INBOX.>", "_INBOX_ingest.>", "_INBOX_app.>"}),
	}, {
		name:      "app",
		publishes: apps,
		subscribe: slices.Concat(listens, []string{
			"entitled.sync.*", "$SRV.>", "_INBOX_syncer.>", "_INBOX_ingest.>", "_INBOX_gateway.>",
		}),
	}, {
		name:      "gateway",
		publishes: apps,
		subscribe: slices.Concat(listens, []string{
			"entitled.sync.*", "$SRV.>", "_INBOX.>", "_INBOX_syncer.>", "_INBOX_ingest.>", "_INBOX_app.>",
		}),
	}, {
		name:      "ops",
		subscribe: []string{"_INBOX.>"},
	}} {
		nc := s.Conn(t, as(user.name))
		for _, subject := range user.publishes {
			if err := denied(nc, func() error { return nc.Publish(subject, nil) }); err != nil {
				t.Errorf("%s publishes %s: %v", user.name, subject, err)
			}
		}
		for _, subject := range user.subscribe {
			if err := denied(nc, func() error { _, err := nc.SubscribeSync(subject); return err }); err != nil {
				t.Errorf("%s subscribes to %s: %v", user.name, subject, err)
			}
		}
	}
	// The check itself can pass: ops is denied nothing.
	ops := natstest.Run(t)
	nc := ops.Conn(t)
	if err := denied(nc, func() error { return nc.Publish("other", nil) }); err == nil {
		t.Error("a user without permissions set is denied a subject")
	}
}

// denied returns nil if the server refuses what act sends.
func denied(nc *nats.Conn, act func() error) error {
	before := nc.LastError()
	if err := act(); err != nil {
		return err
	}
	// The server answers in order: a refusal arrives before this.
	if err := nc.Flush(); err != nil {
		return err
	}
	if last := nc.LastError(); last == before || !errors.Is(last, nats.ErrPermissionViolation) {
		return errors.New("allowed")
	}
	return nil
}
