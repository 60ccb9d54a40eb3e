package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

func send(ctx context.Context, ln net.Listener, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ln.Addr().String()+Path,
		strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Stripe-Signature", sign(body, secret, time.Now()))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, string(answer), err
}

// TestShutdownAnswersWhatWaits: requests that wait for their PubAck when the context ends get their
// answer, new connections are refused, and Run returns after the last answer.
func TestShutdownAnswersWhatWaits(t *testing.T) {
	t.Parallel()
	published, release := make(chan struct{}, 2), make(chan struct{})
	p := &fakePublisher{reply: func(string) (jetstream.PubAckFuture, error) {
		f := unacked()
		go func() { // ends with release
			<-release
			f.ok <- &jetstream.PubAck{}
		}()
		published <- struct{}{}
		return f, nil
	}}
	in := fakeIngest(t, p, nil)
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx, ln) }() // received below
	type result struct {
		status int
		answer string
		err    error
	}
	answered := make(chan result, 1)
	go func() { // received below
		status, answer, err := send(t.Context(), ln, fixture(t, "invoice.paid"))
		answered <- result{status, answer, err}
	}()
	<-published
	stop()
	// The listener closes at once, while the webhook still waits.
	for {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			break
		}
		_ = nc.Close()
	}
	select {
	case err := <-ran:
		t.Fatalf("Run returned %v before the answer", err)
	case r := <-answered:
		t.Fatalf("answered %+v before the PubAck", r)
	default:
	}
	close(release)
	if r := <-answered; r.err != nil || r.status != 200 || r.answer != `{"received":true}` {
		t.Errorf("got %+v", r)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestRunReportsItsListener(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	_ = ln.Close()
	if err := fakeIngest(t, &fakePublisher{}, nil).Run(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestOverTheWire sends what httptest cannot: chunked, too large and empty bodies.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	in := fakeIngest(t, &fakePublisher{}, func(c *Config) { c.MaxBody = 100 << 10 })
	ln := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx, ln) }() // received below
	for name, tc := range map[string]struct {
		size int
		want int
	}{"small": {0, 200}, "more than trusted": {90 << 10, 200}, "too large": {200 << 10, 413},
		"far too large": {20 << 20, 413}} {
		for _, chunked := range []bool{false, true} {
			body := `{"id":"evt_1","type":"a","livemode":true,"pad":"` + strings.Repeat("x", tc.size) + `"}`
			var reader io.Reader = strings.NewReader(body)
			if chunked {
				reader = io.MultiReader(reader) // hides its length
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ln.Addr().String()+Path, reader)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Stripe-Signature", sign(body, secret, time.Now()))
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				// A sender that keeps writing after the answer may find the connection closed.
				if tc.want != 413 {
					t.Errorf("%s, chunked %v: %v", name, chunked, err)
				}
				continue
			}
			answer, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != tc.want || !bytes.HasPrefix(answer, []byte("{")) {
				t.Errorf("%s, chunked %v: %d %s", name, chunked, res.StatusCode, answer)
			}
		}
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
