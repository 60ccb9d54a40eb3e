package console

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"entitled/internal/natstest"
)

// However many tabs show the overview, the console asks NATS no more than for one, and nothing when the
// last is closed.
func TestOverviewAsksOnce(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	asked := func(tabs int) uint64 {
		t.Helper()
		ctx, closeTabs := context.WithCancel(t.Context())
		defer closeTabs()
		var streams []*bufio.Scanner
		for range tabs {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/live", nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close() //nolint:errcheck // read as far as needed
			streams = append(streams, bufio.NewScanner(res.Body))
		}
		next := func() {
			t.Helper()
			for _, s := range streams {
				for {
					if !s.Scan() {
						t.Fatalf("the stream ended: %v", s.Err())
					}
					if strings.Contains(s.Text(), "live-problem") {
						break // the end of a frame
					}
				}
			}
		}
		next()
		before := r.console.cfg.NATS.Stats().OutMsgs
		next()
		next()
		return r.console.cfg.NATS.Stats().OutMsgs - before
	}
	one, many := asked(1), asked(40)
	if one == 0 || many > 2*one { // some figures are not in every sample
		t.Errorf("two samples ask NATS %d times for one tab, and %d times for forty", one, many)
	}
	natstest.Eventually(t, soon, func() error {
		if r.console.live.Running() {
			return errors.New("the console goes on asking NATS without a tab")
		}
		return nil
	})
}

// A HEAD request of a stream ends, so that its connection takes the next request.
func TestHeadOfStream(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	for _, ask := range [][2]string{{http.MethodHead, "/live"}, {http.MethodGet, "/doctor"}} {
		method, path := ask[0], ask[1]
		req, err := http.NewRequestWithContext(ctx, method, r.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %d %v", method, path, res.StatusCode, err)
		}
		res.Body.Close() //nolint:errcheck // read to the end
	}
}
