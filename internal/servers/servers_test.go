package servers

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
)

const patience = 30 * time.Second

// shipped gives a server the nats.conf that is shipped; a client that does not log in is ops.
func shipped(t *testing.T) natstest.Option {
	t.Helper()
	o, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	o.NoAuthUser = "ops"
	for _, u := range o.Users {
		if u.Username == "ops" {
			u.Permissions.Subscribe.Deny = nil // of the default inbox
		}
	}
	return func(opts *server.Options) { *opts = *o.Clone() }
}

func TestLookAtOne(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t, shipped(t), func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 })
	f, err := Look(t.Context(), s.Conn(t), patience, true)
	if err != nil || len(f.Servers) != 1 || f.Size != 1 || f.Missing != nil || f.Unnamed != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	got := f.Servers[0]
	if got.ID != s.ID() || got.Version != server.VERSION || !got.JetStream.Config.SyncAlways ||
		got.JetStream.Config.MaxStorage != 1<<20 ||
		got.Health == nil || got.Health.Status != "ok" {
		t.Errorf("%+v", got)
	}
	// A syncer may not ask for the health, and sees the rest.
	f, err = Look(t.Context(),
		s.Conn(t, nats.UserInfo("syncer", "syncer-dev"), nats.CustomInboxPrefix("_INBOX_syncer")), patience, true)
	if err != nil || len(f.Servers) != 1 || f.Servers[0].Health != nil {
		t.Errorf("as syncer: %+v, %v", f, err)
	}
	if _, err := Look(t.Context(), s.Conn(t, nats.UserInfo("ingest", "ingest-dev"),
		nats.CustomInboxPrefix("_INBOX_ingest")), patience, true); !errors.Is(err, ErrDenied) {
		t.Errorf("as ingest: %v, want ErrDenied", err)
	}
	gone := s.Conn(t)
	gone.Close()
	if _, err := Look(t.Context(), gone, patience, true); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("over a closed connection: %v, want ErrConnectionClosed", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	if _, err := Look(t.Context(), natstest.Run(t).Conn(t), patience, true); !errors.Is(err, ErrNotAnswered) {
		t.Errorf("a server without the exports: %v, want ErrNotAnswered", err)
	}
}

// TestLookAtThree misses one that is stopped by its name.
func TestLookAtThree(t *testing.T) {
	t.Parallel()
	c := natstest.Cluster(t, 3, shipped(t))
	nc := c.Servers[0].Conn(t)
	// A server answers as soon as it has joined, which may be before it knows the others. One that had not
	// joined never heard the question, so it is asked again.
	natstest.Eventually(t, patience, func() error {
		f, err := Look(t.Context(), nc, patience/10, true)
		if err != nil || names(f) != "n1 n2 n3" || f.Size != 3 || f.Missing != nil || f.Unnamed != 0 ||
			f.Servers[2].Health == nil {
			return fmt.Errorf("three of three: %+v, %w", f, err)
		}
		return nil
	})
	c.Servers[2].Shutdown()
	f, err := Look(t.Context(), nc, 200*time.Millisecond, false)
	if err != nil || names(f) != "n1 n2" || f.Size != 3 || !cmp.Equal(f.Missing, []string{"n3"}) || f.Unnamed != 0 {
		t.Errorf("two of three: %+v, %v", f, err)
	}
}

func names(f Fleet) (all string) {
	for i, s := range f.Servers {
		if i > 0 {
			all += " "
		}
		all += s.Name
	}
	return all
}

// TestMissing finds the missing servers from the answers of the others.
func TestMissing(t *testing.T) {
	t.Parallel()
	// n1 was started while n3 was away, and does not know its name.
	n1 := server1(t, "n1",
		`{"meta_cluster":{"leader":"n1","cluster_size":3,"replicas":[{"name":"n2"},{"name":"Server name unknown at this time (peerID: x)"}]}}`)
	n2 := server1(t, "n2", `{"meta_cluster":{"leader":"n1","cluster_size":3,"replicas":[{"name":"n1"},{"name":"n3"}]}}`)
	// Off since its disk was full: it says nothing of the cluster any more.
	off := server1(t, "n2", `{"disabled":true}`)
	alone := server1(t, "solo", `{}`)
	for name, tt := range map[string]struct {
		servers []Server
		size    int
		missing []string
		unnamed int
	}{
		"one without a cluster":  {servers: []Server{alone}, size: 1},
		"the name is not known":  {servers: []Server{n1}, size: 3, missing: []string{"n2"}, unnamed: 1},
		"the other one knows it": {servers: []Server{n1, n2}, size: 3, missing: []string{"n3"}},
		"off but there":          {servers: []Server{n1, off}, size: 3, unnamed: 1},
		"no leader": {servers: []Server{server1(t, "n1", `{"meta_cluster":{"cluster_size":3}}`)},
			size: 3, unnamed: 2},
	} {
		var f Fleet
		for _, s := range tt.servers {
			f.add(s)
		}
		if f.Size != tt.size || !cmp.Equal(f.Missing, tt.missing) || f.Unnamed != tt.unnamed {
			t.Errorf("%s: size %d, missing %q and %d more", name, f.Size, f.Missing, f.Unnamed)
		}
	}
}

func server1(t *testing.T, name, jsz string) Server {
	t.Helper()
	s := Server{Name: name, ID: "ID-" + name}
	if err := json.Unmarshal([]byte(jsz), &s.JetStream); err != nil {
		t.Fatal(err)
	}
	return s
}
