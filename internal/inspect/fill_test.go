package inspect

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"entitled/internal/natstest"
)

// A syncer's metrics say how full each server is, and are absent if the servers do not answer it.
func TestFill(t *testing.T) {
	t.Parallel()
	o, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	srv := natstest.Run(t, func(opts *server.Options) {
		*opts = *o
		opts.ServerName,
			opts.JetStreamMaxStore = "nats-1", 1<<20
	})
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	shown := func(f *Fill, want string) {
		t.Helper()
		if err := testutil.CollectAndCompare(f, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	f := NewFill(logger, srv.Conn(t, nats.UserInfo("syncer", "syncer-dev"), nats.CustomInboxPrefix("_INBOX_syncer")))
	shown(f, `
# HELP entitled_syncer_nats_servers_missing NATS servers of the cluster that did not answer.
# TYPE entitled_syncer_nats_servers_missing gauge
entitled_syncer_nats_servers_missing 0
# HELP entitled_syncer_nats_store_bytes Disk space that the streams use on a NATS server; absent if the servers do not answer a syncer.
# TYPE entitled_syncer_nats_store_bytes gauge
entitled_syncer_nats_store_bytes{server="nats-1"} 0
# HELP entitled_syncer_nats_store_limit_bytes Disk space that the streams may use on a NATS server (max_file_store): above it every publish is refused.
# TYPE entitled_syncer_nats_store_limit_bytes gauge
entitled_syncer_nats_store_limit_bytes{server="nats-1"} 1.048576e+06
`)
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}

	// After a refusal the syncer does not ask again: NATS reports, and the connection logs, each
	// refusal.
	refusals := make(chan error, 10)
	nc := srv.Conn(t, nats.UserInfo("ingest", "ingest-dev"), nats.CustomInboxPrefix("_INBOX_ingest"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	f = NewFill(logger, nc)
	now := time.Now()
	f.now = func() time.Time { return now }
	for range 3 {
		shown(f, "")
		now = now.Add(time.Hour)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	<-refusals
	if n := strings.Count(log.String(), "may not ask the NATS servers"); n != 1 || len(refusals) != 0 {
		t.Errorf("logged %d times, %d more refusals:\n%s", n, len(refusals), &log)
	}
	shown(NewFill(logger, natstest.Run(t).Conn(t)), "")
}
