package topology_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

func TestEnsureCreatesOnceAndAgainNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := natstest.Run(t)
	js := s.JetStream(t)
	all := topology.All(topology.Options{})
	findings, err := topology.Check(ctx, js, all)
	if err != nil || len(findings) != len(all) {
		t.Fatalf("an empty server: %d findings of %d assets, %v", len(findings), len(all), err)
	}
	for range 2 {
		if err := topology.Ensure(ctx, js, all); err != nil {
			t.Fatal(err)
		}
	}
	if findings, err := topology.Check(ctx, js, all); err != nil || len(findings) != 0 {
		t.Errorf("after Ensure: %+v, %v", findings, err)
	}
	// The server keeps the configurations as given, also across a restart; but a single server
	// forgets assets in memory.
	s.Restart()
	// A request that was on its way when the connection broke gets no answer; its caller asks
	// again.
	natstest.Eventually(t, 5*time.Minute, func() error {
		findings, err = topology.Check(ctx, js, all)
		return err
	})
	if diff := cmp.Diff([]topology.Finding{{Asset: "bucket stripe_pace", Missing: true}}, findings); diff != "" {
		t.Errorf("after a restart, -want +got\n%s", diff)
	}
	if err := topology.Ensure(ctx, js, all); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// A KV client finds the buckets equal to those that it would create.
func TestBucketsAreThoseOfAKVClient(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	for _, c := range []jetstream.KeyValueConfig{
		{Bucket: entitlement.Bucket(entitlement.Live)},
		{Bucket: entitlement.Bucket(entitlement.Test)},
		{Bucket: topology.StateBucket},
		{Bucket: topology.PaceBucket, Storage: jetstream.MemoryStorage, TTL: topology.PaceTTL},
	} {
		if _, err := js.CreateKeyValue(ctx, c); err != nil {
			t.Errorf("bucket %s: %v", c.Bucket, err)
		}
	}
	findings, err := topology.Check(ctx, js, topology.All(topology.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range findings {
		for _, d := range f.Differences {
			found = append(found, d.String())
		}
	}
	// A KV client cannot say how many may watch.
	if diff := cmp.Diff([]string{
		"bucket entitlements_live: max_consumers is -1, want 10000 (can be mended in place)",
		"bucket entitlements_test: max_consumers is -1, want 10000 (can be mended in place)",
	}, found); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestEightEnsureAtOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		js := s.JetStream(t)
		assets := topology.Ingest(topology.Options{})
		if i%2 == 0 {
			assets = topology.All(topology.Options{})
		}
		all.Go(func() { errs[i] = topology.Ensure(t.Context(), js, assets) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// overtaken is a JetStream in which another program creates a different stream first.
type overtaken struct{ jetstream.JetStream }

func (o overtaken) CreateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	theirs := c
	theirs.MaxAge = time.Hour
	theirs.Duplicates = time.Minute
	if _, err := o.JetStream.CreateStream(ctx, theirs); err != nil {
		return nil, err
	}
	return o.JetStream.CreateStream(ctx, c)
}

func TestWhatAnotherCreatedMeanwhileIsCompared(t *testing.T) {
	t.Parallel()
	js := overtaken{natstest.Run(t).JetStream(t)}
	err := topology.Ensure(t.Context(), js, topology.Ingest(topology.Options{}))
	if drift, ok := errors.AsType[*topology.DriftError](err); !ok || drift.Differences[0].Field != "max_age" {
		t.Errorf("%v, want a DriftError", err)
	}
}

// byName is a user's connection option, with the default inbox.
func byName(user string) nats.Option { return nats.UserInfo(user, user+"-dev") }

// restricted is a server with the users "reader", who may create nothing, "blind", who may not even
// read, "deaf", who receives no answers, and "admin".
func restricted(t *testing.T) *natstest.Server {
	t.Helper()
	user := func(name string, publish, subscribe []string) *server.User {
		u := &server.User{Username: name, Password: name + "-dev"}
		if publish != nil {
			u.Permissions = &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: publish},
				Subscribe: &server.SubjectPermission{Allow: subscribe},
			}
		}
		return u
	}
	return natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{
			user("reader", []string{"$JS.API.STREAM.INFO.>", "$JS.API.CONSUMER.INFO.>"}, []string{"_INBOX.>"}),
			user("blind", []string{"other"}, []string{"_INBOX.>"}),
			user("deaf", []string{">"}, []string{"other"}),
			user("admin", nil, nil),
		}
	})
}

func TestARefusalIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	s := restricted(t)
	for _, tc := range []struct {
		user, want string
		missing    bool
	}{
		{"reader",
			"stream STRIPE_EVENTS, stream STRIPE_SYNC, stream STRIPE_SYNCED, bucket stripe_pace, bucket stripe_state, " +
				"bucket entitlements_live, bucket entitled_plans: missing, and this NATS user may not request " +
				"$JS.API.STREAM.CREATE.STRIPE_EVENTS: " +
				`nats: permissions violation: Permissions Violation for Publish to "$JS.API.STREAM.CREATE.STRIPE_EVENTS": ` +
				"run `entitled topology apply` as a user that may", true},
		{"blind", "stream STRIPE_EVENTS: this NATS user may not request $JS.API.STREAM.INFO.STRIPE_EVENTS: " +
			`nats: permissions violation: Permissions Violation for Publish to "$JS.API.STREAM.INFO.STRIPE_EVENTS"`,
			false},
		{"deaf",
			`stream STRIPE_EVENTS: this NATS user may not receive the answer to $JS.API.STREAM.INFO.STRIPE_EVENTS: ` +
				`nats: permissions violation: Permissions Violation for Subscription to "_INBOX.`, false},
	} {
		js := s.JetStream(t, byName(tc.user))
		start := time.Now()
		err := topology.Ensure(t.Context(), js, topology.Syncer(topology.Options{}, entitlement.Live))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v\nwant %s", tc.user, err, tc.want)
		}
		if _, ok := errors.AsType[*topology.DeniedError](err); !ok {
			t.Errorf("%s: %T, want a DeniedError in it", tc.user, err)
		}
		if _, ok := errors.AsType[*topology.MissingError](err); ok != tc.missing {
			t.Errorf("%s: is a MissingError: %t, want %t", tc.user, ok, tc.missing)
		}
		// A generous bound for busy machines: waiting for an answer that never comes takes 5 s per
		// asset.
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: said after %s", tc.user, took)
		}
	}
}

func TestDriftAndMissingAreBothSaid(t *testing.T) {
	t.Parallel()
	s := restricted(t)
	admin := s.JetStream(t, byName("admin"))
	if _, err := admin.CreateStream(t.Context(),
		jetstream.StreamConfig{Name: topology.SyncStream, Subjects: []string{"stripe.sync.>"}}); err != nil {
		t.Fatal(err)
	}
	err := topology.Ensure(t.Context(), s.JetStream(t, byName("reader")), topology.Ingest(topology.Options{}))
	drift, isDrift := errors.AsType[*topology.DriftError](err)
	missing, isMissing := errors.AsType[*topology.MissingError](err)
	if !isDrift || !isMissing || len(drift.Differences) == 0 ||
		!cmp.Equal(missing.Assets, []string{"stream STRIPE_EVENTS"}) {
		t.Errorf("%v", err)
	}
}

func TestWaitGoesOnWhenItAppears(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := restricted(t)
	assets := topology.Syncer(topology.Options{}, entitlement.Live)
	reports := make(chan error, 100)
	done := make(chan error, 1)
	reader := s.JetStream(t, byName("reader"))
	go func() { done <- topology.Wait(ctx, reader, assets, func(err error) { reports <- err }) }() // received below
	if err := <-reports; !errors.As(err, new(*topology.MissingError)) {
		t.Errorf("reported %v, want what is missing", err)
	}
	if err := topology.Ensure(ctx, s.JetStream(t, byName("admin")), assets); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still waits for what is there")
	}
	// Each reason once; there may be a few, since the admin creates one asset after the other.
	seen := map[string]bool{}
	for len(reports) > 0 {
		text := (<-reports).Error()
		if seen[text] {
			t.Errorf("reported twice: %s", text)
		}
		seen[text] = true
	}
}

// asking ends a wait after a number of requests.
type asking struct {
	jetstream.JetStream
	left   int
	enough context.CancelFunc
}

func (a *asking) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if a.left--; a.left == 0 {
		a.enough()
	}
	return a.JetStream.Stream(ctx, name)
}

func TestWaitReportsAReasonOnce(t *testing.T) {
	t.Parallel()
	s := restricted(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := 0
	js := &asking{s.JetStream(t, byName("blind")), 4, cancel}
	err := topology.Wait(ctx, js, topology.Ingest(topology.Options{}), func(error) { reports++ })
	if !errors.Is(err, context.Canceled) || reports != 1 {
		t.Errorf("%d reports, then %v; want 1 and the end of the context", reports, err)
	}
}

func TestWaitEndsAtOnceWhereWaitingIsInVain(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	js := s.JetStream(t)
	if err := topology.Ensure(t.Context(), js, topology.Ingest(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	report := func(err error) { t.Errorf("reported %v", err) }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := topology.Wait(ctx, js, topology.Ingest(topology.Options{EventsMaxAge: time.Hour}), report)
	if !errors.As(err, new(*topology.DriftError)) {
		t.Errorf("%v, want a DriftError", err)
	}
	old, err := jetstream.New(oldServer(t))
	if err != nil {
		t.Fatal(err)
	}
	err = topology.Wait(ctx, old, topology.Ingest(topology.Options{}), report)
	if !errors.As(err, new(*topology.ServerVersionError)) ||
		!strings.Contains(err.Error(), "is version 2.13.9, want 2.14 or newer: upgrade it") {
		t.Errorf("%v, want a ServerVersionError", err)
	}
}

// oldServer is a connection to a fake server of version 2.13.9.
func oldServer(t *testing.T) *nats.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, `INFO {"server_id":"old","version":"2.13.9","headers":true,"max_payload":1000000}`+"\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if lines.Text() == "PING" {
				fmt.Fprint(c, "PONG\r\n")
			}
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	nc, err := nats.Connect("nats://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestServerVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.14.0": true, "2.15.2": true, "2.15.0-RC.1": true, "v2.14.1": true, "2.100.0": true, "3.0.0": true,
		"2.13.9": false, "2.9.25": false, "1.99.0": false, "": false, "2": false, "two.fourteen": false,
	} {
		if got := topology.Supported(version); got != want {
			t.Errorf("version %q supported: %t, want %t", version, got, want)
		}
	}
}

func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t, func(o *server.Options) {
		a := server.NewAccount("A")
		o.Accounts = []*server.Account{a}
		o.Users = []*server.User{{Username: "u", Password: "u-dev", Account: a}}
	})
	err := topology.Ensure(t.Context(), s.JetStream(t, byName("u")), topology.Ingest(topology.Options{}))
	if err == nil || !strings.Contains(err.Error(), "JetStream is disabled for this account") {
		t.Errorf("%v, want that JetStream is disabled", err)
	}
	nc := s.Conn(t, byName("u"))
	nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), js, topology.Ingest(topology.Options{})); err == nil ||
		err.Error() != "not connected to NATS" {
		t.Errorf("%v, want that it is not connected", err)
	}
}
