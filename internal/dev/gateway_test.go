package dev

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"entitled/internal/natstest"
)

var curlLine = regexp.MustCompile(`curl -H "Authorization: Bearer (\w+)" (?:-N )?(?:-d '([^']*)' )?(http://\S+)`)

// The printed lines of curl work: a decision, a stream that shows the next change, and a flag of
// OpenFeature.
func TestCurlLines(t *testing.T) {
	t.Parallel()
	out := &screen{}
	cfg := config(t, out)
	cfg.Pace, cfg.Verbose = 50*time.Millisecond, true
	d := newDev(cfg)
	over := make(chan time.Time)
	d.over = over
	ended := make(chan error, 1)
	go func() { ended <- d.run(t.Context()) }() // received below
	natstest.Eventually(t, patience, func() error { return shows("✓ cus_Amelia")(out.String()) })
	lines := curlLine.FindAllStringSubmatch(out.String(), -1)
	if len(lines) != 3 {
		t.Fatalf("%d lines of curl, want 3:\n%s", len(lines), out)
	}
	ask := func(line []string) io.ReadCloser {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, line[3], nil)
		if err != nil {
			t.Fatal(err)
		}
		if line[2] != "" {
			req.Method, req.Body = http.MethodPost, io.NopCloser(strings.NewReader(line[2]))
			req.Header.Set("Content-Type", "application/json")
		}
		req.Header.Set("Authorization", "Bearer "+line[1])
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", line[0], resp.Status)
		}
		return resp.Body
	}
	for _, i := range []int{0, 2} {
		body := ask(lines[i])
		answer, err := io.ReadAll(body)
		body.Close() //nolint:errcheck // read whole
		if err != nil || !strings.Contains(string(answer), `"allowed":true`) && !strings.Contains(string(answer), `"value":true`) {
			t.Errorf("%s: %s, %v", lines[i][0], answer, err)
		}
	}
	stream := ask(lines[1])
	revisions := map[string]bool{}
	for read := bufio.NewScanner(stream); len(revisions) < 2 && read.Scan(); {
		if m := regexp.MustCompile(`"revision":(\d+)`).FindStringSubmatch(read.Text()); m != nil {
			revisions[m[1]] = true
		}
	}
	stream.Close() //nolint:errcheck // its changes were seen
	if len(revisions) < 2 {
		t.Error("the stream ended before a change")
	}
	close(over)
	if err := errors.Join(<-ended, d.close()); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}
