package natstest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

func TestRestartKeepsTheStoreAndThePort(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := natstest.Run(t, natstest.SyncAlways)
	js, url := s.JetStream(t), s.URL()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if s.URL() != url {
		t.Errorf("restarted at %s, was at %s", s.URL(), url)
	}
	// The client that was connected finds it again.
	natstest.Eventually(t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		st, err := js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		m, err := st.GetMsg(ctx, 1)
		if err == nil && string(m.Data) != "kept" {
			err = errors.New("message 1 is another")
		}
		return err
	})
	s.RemoveStore()
	s.Restart()
	if _, err := s.JetStream(t).Stream(ctx, "S"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("after the loss of the store: %v, want ErrStreamNotFound", err)
	}
}

func TestClusterHoldsThreeReplicas(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := natstest.Cluster(t, 3)
	js := c.JetStream(t)
	st, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", nil, jetstream.WithRetryAttempts(10)); err != nil {
		t.Fatal(err)
	}
	c.Leader().Restart()
	c.WaitReady()
	natstest.Eventually(t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		info, err := st.Info(ctx)
		if err == nil && info.State.Msgs != 1 {
			err = errors.New("message lost")
		}
		return err
	})
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		natstest.Run(b).Shutdown()
	}
}
