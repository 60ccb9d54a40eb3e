package topology_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

func TestSyncerCan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js := allowed(t, shipped(t), "syncer")
	for _, m := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		if err := topology.Ensure(ctx, js, topology.Syncer(topology.Options{}, m)); err != nil {
			t.Fatalf("alone on an empty server: %v", err)
		}
		for _, name := range []string{entitlement.Bucket(m), topology.PaceBucket, topology.StateBucket} {
			if err := useBucket(ctx, js, name); err != nil {
				t.Errorf("bucket %s: %v", name, err)
			}
		}
		plans, err := js.Stream(ctx, "KV_"+topology.PlansBucket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plans.GetLastMsgForSubject(ctx, "$KV."+topology.PlansBucket+"."+string(m)); !errors.Is(err,
			jetstream.ErrMsgNotFound) {
			t.Errorf("read the document in force: %v", err)
		}
		c := stripeevent.Customer{Mode: m, ID: "cus_1"}
		for _, subject := range []string{
			stripeevent.EventSubject(c, "invoice.paid"), stripeevent.SyncedSubject(c),
			stripeevent.SyncSubject(stripeevent.Bulk, c),
			stripeevent.SyncSubject(stripeevent.Now, c), stripeevent.JobSubject(m, "sweep"),
		} {
			if _, err := js.Publish(ctx, subject, nil); err != nil {
				t.Errorf("publish %s: %v", subject, err)
			}
		}
		if err := schedule(ctx, js, c); err != nil {
			t.Error(err)
		}
		for _, consumer := range []string{topology.LaneConsumer(m, stripeevent.Bulk), topology.JobConsumer(m)} {
			if err := work(ctx, js, consumer); err != nil {
				t.Errorf("consumer %s: %v", consumer, err)
			}
		}
		for _, stream := range []string{topology.EventsStream, topology.SyncedStream} {
			if err := readLog(ctx, js, stream); err != nil {
				t.Errorf("stream %s: %v", stream, err)
			}
		}
	}
}

func useBucket(ctx context.Context, js jetstream.JetStream, name string) error {
	kv, err := js.KeyValue(ctx, name)
	if err != nil {
		return err
	}
	rev, err := kv.Create(ctx, "cus_1", []byte("1"))
	if err != nil {
		return err
	}
	if rev, err = kv.Update(ctx, "cus_1", []byte("2"), rev); err != nil {
		return err
	}
	if _, err := kv.Get(ctx, "cus_1"); err != nil {
		return err
	}
	if _, err := kv.GetRevision(ctx, "cus_1", rev); err != nil {
		return err
	}
	if err := watchOne(ctx, kv); err != nil {
		return err
	}
	return kv.Delete(ctx, "cus_1", jetstream.LastRevision(rev))
}

func watchOne(ctx context.Context, kv jetstream.KeyValue) error {
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	keys, err := kv.ListKeys(ctx)
	if err != nil {
		return err
	}
	n := 0
	for range keys.Keys() {
		n++
	}
	if n == 0 {
		return errors.New("no keys")
	}
	return w.Stop()
}

func schedule(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) error {
	for subject, target := range map[string]string{
		stripeevent.WakeSubject(c):               stripeevent.SyncSubject(stripeevent.Bulk, c),
		stripeevent.CronSubject(c.Mode, "sweep"): stripeevent.JobSubject(c.Mode, "sweep"),
	} {
		_, err := js.Publish(ctx, subject, nil, jetstream.WithScheduleAt(time.Now().Add(time.Hour)),
			jetstream.WithScheduleTarget(target))
		if err != nil {
			return fmt.Errorf("schedule %s: %w", subject, err)
		}
	}
	s, err := js.Stream(ctx, topology.SyncStream)
	if err != nil {
		return err
	}
	if _, err := s.GetLastMsgForSubject(ctx, stripeevent.WakeSubject(c)); err != nil {
		return fmt.Errorf("read the wake-up: %w", err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(stripeevent.WakeSubject(c))); err != nil {
		return fmt.Errorf("take back the wake-up: %w", err)
	}
	_, err = s.Info(ctx, jetstream.WithSubjectFilter("stripe.>"))
	return err
}

func work(ctx context.Context, js jetstream.JetStream, consumer string) error {
	c, err := js.Consumer(ctx, topology.SyncStream, consumer)
	if err != nil {
		return err
	}
	msg, err := c.Next(jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	if err := msg.InProgress(); err != nil {
		return err
	}
	if err := msg.Nak(); err != nil {
		return err
	}
	if msg, err = c.Next(jetstream.FetchContext(ctx)); err != nil {
		return err
	}
	return msg.DoubleAck(ctx)
}

func readLog(ctx context.Context, js jetstream.JetStream, stream string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if _, err := s.GetMsg(ctx, 1); err != nil {
		return err
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"stripe.>"}})
	if err != nil {
		return err
	}
	batch, err := c.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	n := 0
	for range batch.Messages() {
		n++
	}
	if n != 1 {
		return fmt.Errorf("read %d messages: %v", n, batch.Error())
	}
	// nats.go does this after a reconnect.
	_, err = c.Info(ctx)
	return err
}
