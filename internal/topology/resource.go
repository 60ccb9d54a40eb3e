package topology

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// An Asset is the required state of one stream, bucket or consumer. [Ingest], [Syncer] and [All]
// return them.
type Asset interface {
	// String returns kind and name: "stream STRIPE_EVENTS", "bucket stripe_pace", "consumer … of
	// STRIPE_SYNC".
	String() string
	// check returns the differences to the server's asset, or errMissing.
	check(context.Context, client) ([]Difference, error)
	// create creates it, or returns errExists if a different one exists.
	create(context.Context, client) error
	// mend corrects the differences that can be corrected in place.
	mend(ctx context.Context, c client, may func(field string) bool) error
	remove(context.Context, client) error
	// replaceable says how the system rebuilds lost content; "" if it cannot.
	replaceable() string
	// on returns the name of its stream: its own, or a consumer's.
	on() string
}

var (
	errMissing = errors.New("missing")
	errExists  = errors.New("exists")
)

// stream is a stream, or the stream behind a bucket.
type stream struct {
	label   string
	config  jetstream.StreamConfig
	rebuilt string
}

func (s *stream) String() string      { return s.label }
func (s *stream) on() string          { return s.config.Name }
func (s *stream) replaceable() string { return s.rebuilt }

func (s *stream) look(ctx context.Context, c client) (jetstream.StreamConfig, error) {
	var have jetstream.StreamConfig
	err := c.do(ctx, "STREAM.INFO."+s.config.Name, func(ctx context.Context) error {
		st, err := c.js.Stream(ctx, s.config.Name)
		if err == nil {
			have = st.CachedInfo().Config
		}
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = errMissing
	}
	return have, err
}

func (s *stream) check(ctx context.Context, c client) ([]Difference, error) {
	have, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if restoring(have) {
		return nil, &RestoringError{Streams: []string{s.label}}
	}
	return differences(s.label, streamFields(), &have, &s.config), nil
}

func (s *stream) create(ctx context.Context, c client) error {
	err := c.do(ctx, "STREAM.CREATE."+s.config.Name, func(ctx context.Context) error {
		_, err := c.js.CreateStream(ctx, s.config)
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		err = errExists
	}
	return err
}

func (s *stream) mend(ctx context.Context, c client, may func(field string) bool) error {
	have, err := s.look(ctx, c)
	if err != nil {
		return err
	}
	return c.do(ctx, "STREAM.UPDATE."+s.config.Name, func(ctx context.Context) error {
		_, err := c.js.UpdateStream(ctx, mended(streamFields(), &have, &s.config, may))
		return err
	})
}

func (s *stream) remove(ctx context.Context, c client) error {
	return c.do(ctx, "STREAM.DELETE."+s.config.Name, func(ctx context.Context) error {
		return c.js.DeleteStream(ctx, s.config.Name)
	})
}

// consumer is a durable consumer.
type consumer struct {
	stream string
	config jetstream.ConsumerConfig
}

func (k *consumer) String() string { return "consumer " + k.config.Durable + " of " + k.stream }
func (k *consumer) on() string     { return k.stream }

func (k *consumer) replaceable() string { return "its pending messages are delivered again" }

func (k *consumer) look(ctx context.Context, c client) (jetstream.ConsumerConfig, error) {
	var have jetstream.ConsumerConfig
	err := c.do(ctx, "CONSUMER.INFO."+k.stream+"."+k.config.Durable, func(ctx context.Context) error {
		cons, err := c.js.Consumer(ctx, k.stream, k.config.Durable)
		// A push consumer has the wrong kind, but its configuration is compared all the same.
		if errors.Is(err, jetstream.ErrNotPullConsumer) {
			var push jetstream.PushConsumer
			if push, err = c.js.PushConsumer(ctx, k.stream, k.config.Durable); err == nil {
				have = push.CachedInfo().Config
			}
			return err
		}
		if err == nil {
			have = cons.CachedInfo().Config
		}
		return err
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		err = errMissing
	}
	return have, err
}

func (k *consumer) check(ctx context.Context, c client) ([]Difference, error) {
	have, err := k.look(ctx, c)
	if err != nil {
		return nil, err
	}
	return differences(k.String(), consumerFields(), &have, &k.config), nil
}

func (k *consumer) create(ctx context.Context, c client) error {
	err := c.do(ctx, k.createSubject(), func(ctx context.Context) error {
		_, err := c.js.CreateConsumer(ctx, k.stream, k.config)
		return err
	})
	if errors.Is(err, jetstream.ErrConsumerExists) {
		err = errExists
	}
	return err
}

func (k *consumer) createSubject() string {
	return "CONSUMER.CREATE." + k.stream + "." + k.config.Durable + "." + k.config.FilterSubject
}

func (k *consumer) mend(ctx context.Context, c client, may func(field string) bool) error {
	have, err := k.look(ctx, c)
	if err != nil {
		return err
	}
	return c.do(ctx, k.createSubject(), func(ctx context.Context) error {
		_, err := c.js.UpdateConsumer(ctx, k.stream, mended(consumerFields(), &have, &k.config, may))
		return err
	})
}

func (k *consumer) remove(ctx context.Context, c client) error {
	return c.do(ctx, "CONSUMER.DELETE."+k.stream+"."+k.config.Durable, func(ctx context.Context) error {
		return c.js.DeleteConsumer(ctx, k.stream, k.config.Durable)
	})
}
