package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// A reader is the other end of a stream, in memory.
type reader struct {
	mu     sync.Mutex
	text   strings.Builder
	opened *http.Response
	broken error // of a body without its end
}

// An upgrade is an answer whose connection the handler may take.
type upgrade struct {
	*httptest.ResponseRecorder
	server net.Conn
}

func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) { return u.server, nil, nil }

// A watched connection tells when it is closed.
type watched struct {
	net.Conn
	closed chan struct{}
}

func (w watched) Close() error {
	close(w.closed)
	return w.Conn.Close()
}

// decisions returns the events read since the last call, and the number of comments.
func (r *reader) decisions(t *testing.T) (list []decision.Decision, comments int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var d decision.Decision
			if err := json.Unmarshal([]byte(data), &d); err != nil {
				t.Fatal(err)
			}
			list = append(list, d)
		}
		if strings.HasPrefix(line, ":") {
			comments++
		}
	}
	r.text.Reset()
	return list, comments
}

// open starts a stream in a bubble, and returns its reader and a channel that is closed at its end.
// A slow reader reads nothing.
func (r *rig) open(ctx context.Context, path, by string, slow bool) (*reader, chan struct{}) {
	client, server := net.Pipe()
	read, ended := &reader{}, make(chan struct{})
	req := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	req.Header.Set("Authorization", "Bearer "+by)
	answer := &upgrade{httptest.NewRecorder(), watched{server, ended}}
	r.Handler().ServeHTTP(answer, req)
	read.opened = answer.Result()
	if read.opened.StatusCode != http.StatusOK {
		close(ended)
		return read, ended
	}
	context.AfterFunc(ctx, func() { _ = client.Close() })
	if !slow {
		go func() { // ends with the stream, which each test waits for
			lines := bufio.NewReader(client)
			read.mu.Lock()
			read.opened, _ = http.ReadResponse(lines, req) // without one, the test sees no events
			read.mu.Unlock()
			body := bufio.NewScanner(read.opened.Body)
			for body.Scan() {
				read.mu.Lock()
				read.text.WriteString(body.Text() + "\n")
				read.mu.Unlock()
			}
			read.mu.Lock()
			read.broken = body.Err()
			read.mu.Unlock()
		}()
	}
	synctest.Wait()
	return read, ended
}

func (r *rig) endings(reason string) int {
	return int(testutil.ToFloat64(r.metrics.ended.WithLabelValues(reason)))
}

// A stream begins with the state, and has every change, the end of a grant at its instant, and
// staleness; an unchanged sync is no event.
func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		read, ended := r.open(ctx, "/v1/customers/user_1/stream", serverKey, false)
		next := func(want string, fits func(decision.Decision) bool) {
			t.Helper()
			synctest.Wait()
			list, _ := read.decisions(t)
			if len(list) != 1 || !fits(list[0]) {
				t.Errorf("want one event with %s: %+v", want, list)
			}
		}
		nothing := func(why string) {
			t.Helper()
			synctest.Wait()
			if list, _ := read.decisions(t); len(list) > 0 {
				t.Errorf("%s: %+v", why, list)
			}
		}
		if h := read.opened.Header; read.opened.StatusCode != 200 || h.Get("X-Accel-Buffering") != "no" ||
			h.Get("Content-Type") != "text/event-stream" || h.Get("Vary") == "" ||
			h.Get("Date") != time.Now().UTC().Format(http.TimeFormat) {
			t.Errorf("%d %v", read.opened.StatusCode, h)
		}
		next("the state", func(d decision.Decision) bool { return d.Allowed && d.Revision == 1 })

		until := time.Now().Add(time.Second * 7)
		until = until.Truncate(time.Second)
		end := until.Unix()
		r.hub.changed(new(r.source.put(paying("cus_1", "user_1", grant("sub_1", &end, "export")))))
		next("the end ahead", func(d decision.Decision) bool { return d.Allowed && d.Until != nil && *d.Until == end })
		same := paying("cus_1", "user_1", grant("sub_1", &end, "export"))
		same.AsOf = same.AsOf.Add(time.Hour)
		r.hub.changed(new(r.source.put(same)))
		nothing("only as_of has changed")
		time.Sleep(time.Until(until) - time.Millisecond)
		nothing("the grant has not ended")
		time.Sleep(3 * time.Millisecond)
		next("the end", func(d decision.Decision) bool { return !d.Allowed && len(d.Features) == 0 })

		r.hub.changed(new(r.source.put(paying("cus_2", "user_1", grant("sub_2", nil, "sso")))))
		next("another customer with the id", func(d decision.Decision) bool { return d.Allowed && len(d.Customers) == 2 })
		r.hub.changed(new(r.source.put(paying("cus_2", "user_3", grant("sub_2", nil, "sso")))))
		next("that customer gone", func(d decision.Decision) bool { return !d.Allowed && d.Customers == nil })
		r.hub.changed(new(r.source.put(paying("cus_7", "user_7"))))
		nothing("a change of somebody else")

		_, _ = read.decisions(t)
		time.Sleep(heartbeat + time.Second)
		synctest.Wait()
		if list, comments := read.decisions(t); len(list) != 0 || comments != 1 {
			t.Errorf("%d events and %d comments in 21 s", len(list), comments)
		}
		cancel()
		<-ended
		synctest.Wait()
		if r.endings(endedGone) != 1 || r.hub.count() != 0 {
			t.Errorf("%d streams are open", r.hub.count())
		}
	})
}

// The default of another plans document reaches the streams of unknown customers, which no change of
// the bucket signals.
func TestStreamOfDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() { // received below
			defer close(watching)
			r.hub.watchStatus(ctx, r.source)
		}()
		read, ended := r.open(ctx, "/v1/customers/nobody/stream", serverKey, false)
		time.Sleep(2 * time.Second)
		_, _ = read.decisions(t)
		r.source.set(func() {
			r.source.standard = &entitlement.Grant{Source: entitlement.SourceDefault, Features: []string{"sso"}}
			r.source.status = func() entitlement.Status {
				return entitlement.Status{CurrentAt: time.Now(), PlansRevision: 2}
			}
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if list, _ := read.decisions(t); len(list) != 1 || !slices.Equal(list[0].Features, []string{"sso"}) {
			t.Errorf("two seconds after another document: %+v", list)
		}
		cancel()
		<-ended
		synctest.Wait()
		<-watching
	})
}

// Streams stay open without NATS: they say since when, and when it is over.
func TestStreamStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() { // received below
			defer close(watching)
			r.hub.watchStatus(ctx, r.source)
		}()
		read, ended := r.open(ctx, "/v1/customers/cus_1/stream", serverKey, false)
		away := time.Now()
		r.source.set(func() {
			r.source.status = func() entitlement.Status { return entitlement.Status{CurrentAt: away} }
		})
		time.Sleep(staleAfter + 2*time.Second)
		synctest.Wait()
		list, _ := read.decisions(t)
		if last := list[len(list)-1]; len(list) != 2 || last.StaleSince == nil || !last.Allowed {
			t.Errorf("%+v", list)
		}
		r.source.set(func() {
			r.source.status = func() entitlement.Status { return entitlement.Status{CurrentAt: time.Now()} }
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if list, _ := read.decisions(t); len(list) != 1 || list[0].StaleSince != nil {
			t.Errorf("back: %+v", list)
		}
		cancel()
		<-ended
		synctest.Wait()
		<-watching
	})
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		token := r.token(t, set("exp", time.Now().Add(3*time.Minute).Unix()))
		began := time.Now()
		tokens, byToken := r.open(t.Context(), "/v1/customers/me/stream", token, false)
		_, byLife := r.open(t.Context(), "/v1/customers/cus_1/stream", serverKey, false)
		_, slow := r.open(t.Context(), "/v1/customers/cus_1/stream", serverKey, true)
		<-slow
		synctest.Wait()
		if took := time.Since(began); took != writeWithin || r.endings(endedSlow) != 1 {
			t.Errorf("a slow reader is dropped after %v", took)
		}
		<-byToken
		if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute || r.endings(endedToken) != 1 {
			t.Errorf("the stream of a token of 3 minutes ends after %v", took)
		}
		synctest.Wait()
		if tokens.broken != nil {
			t.Errorf("the reader sees a broken connection: %v", tokens.broken)
		}
		<-byLife
		synctest.Wait()
		if took := time.Since(began); took < 8*time.Minute || took > 12*time.Minute || r.endings(endedLife) != 1 {
			t.Errorf("a stream lives for %v", took)
		}
		_, drained := r.open(t.Context(), "/v1/customers/cus_1/stream", serverKey, false)
		r.hub.stop()
		<-drained
		synctest.Wait()
		if w := r.ask("GET", "/v1/customers/cus_1/stream", serverKey, ""); w.Code != 503 || r.endings(endedDrain) != 1 {
			t.Errorf("while it stops: %d", w.Code)
		}
	})
}

// A slow reader does not keep others from their events.
func TestSlowReaderDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, slow := r.open(ctx, "/v1/customers/cus_1/stream", serverKey, true)
		read, ended := r.open(ctx, "/v1/customers/cus_1/stream", serverKey, false)
		_, _ = read.decisions(t)
		r.hub.changed(new(r.source.put(paying("cus_1", "user_1", grant("sub_1", nil, "sso")))))
		synctest.Wait()
		if list, _ := read.decisions(t); len(list) != 1 || list[0].Features[0] != "sso" {
			t.Errorf("%+v", list)
		}
		<-slow
		synctest.Wait()
		cancel()
		<-ended
		synctest.Wait()
	})
}

// A reader that sends without end is dropped, and one that sends a little is not.
func TestStreamReaderSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		client, server := net.Pipe()
		ended := make(chan struct{})
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/customers/cus_1/stream", nil)
		req.Header.Set("Authorization", "Bearer "+serverKey)
		go func() { _, _ = io.Copy(io.Discard, client) }() // ends with the stream
		r.Handler().ServeHTTP(&upgrade{httptest.NewRecorder(), watched{server, ended}}, req)
		if _, err := client.Write(make([]byte, mostSent-1)); err != nil {
			t.Errorf("a little: %v", err)
		}
		synctest.Wait()
		if r.hub.count() != 1 {
			t.Error("the stream has ended")
		}
		if _, err := client.Write(make([]byte, mostSent)); err == nil {
			t.Error("the stream takes everything")
		}
		_ = client.Close()
		<-ended
		synctest.Wait()
		if r.hub.count() != 0 || r.endings(endedGone) != 1 {
			t.Errorf("%d streams are open", r.hub.count())
		}
	})
}

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxStreams = 150 })
		ctx, cancel := context.WithCancel(t.Context())
		var ended []chan struct{}
		refused := 0
		for range 200 {
			read, end := r.open(ctx, "/v1/customers/cus_1/stream", serverKey, false)
			if read.opened.StatusCode == http.StatusTooManyRequests {
				refused++
			}
			ended = append(ended, end)
		}
		if refused != 100 {
			t.Errorf("%d of 200 refused", refused)
		}
		full := 0
		for range 60 {
			read, end := r.open(ctx, "/v1/customers/user_1/stream", serverKey, false)
			if read.opened.StatusCode == http.StatusServiceUnavailable {
				full++
			}
			ended = append(ended, end)
		}
		if full != 10 {
			t.Errorf("%d of 60 more refused; MAX_STREAMS is 150", full)
		}
		cancel()
		for _, end := range ended {
			<-end
		}
		synctest.Wait()
		if r.hub.count() != 0 || len(r.hub.byRef) != 0 {
			t.Errorf("%d streams are left", r.hub.count())
		}
	})
}

// counted is a source that counts the questions of streams.
type counted struct {
	*fakeSource
	finds atomic.Int64
}

func (c *counted) Find(by string) decision.Found {
	c.finds.Add(1)
	return c.fakeSource.Find(by)
}

// A page sees a cancellation in the instant in which the gateway's watch has it, and the end of a
// grant at most 10 ms after its instant. In between nothing polls: a stream looks at the state for
// its heartbeats only. The bubble's clock shows that the gateway adds no wait; what processors and
// networks add is in `entitled bench --rows gateway`.
func TestStreamIsPrompt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		source := &counted{fakeSource: r.source}
		r.Open(source)
		ctx, cancel := context.WithCancel(t.Context())
		following := make(chan struct{})
		go func() { // received below
			defer close(following)
			r.hub.follow(ctx, source)
		}()
		read, ended := r.open(ctx, "/v1/customers/user_1/stream", serverKey, false)
		_, _ = read.decisions(t)

		began := time.Now()
		canceled := paying("cus_1", "user_1")
		canceled.Status, canceled.Access, canceled.Grants = "canceled", false, []entitlement.Grant{}
		r.source.changes <- r.source.put(canceled)
		synctest.Wait()
		list, _ := read.decisions(t)
		if len(list) != 1 || list[0].Allowed || list[0].Status != "canceled" || time.Since(began) != 0 {
			t.Errorf("%v after the cancellation: %+v", time.Since(began), list)
		}

		until := time.Now().Add(heartbeat / 2).Truncate(time.Second)
		end := until.Unix()
		r.source.changes <- r.source.put(paying("cus_1", "user_1", grant("sub_1", &end, "export")))
		synctest.Wait()
		_, _ = read.decisions(t)
		asked := source.finds.Load()
		time.Sleep(time.Until(until) - time.Nanosecond)
		synctest.Wait()
		if n := source.finds.Load() - asked; n != 0 {
			t.Errorf("the stream has looked %d times before the end of the grant", n)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if list, _ := read.decisions(t); len(list) != 1 || list[0].Allowed || len(list[0].Features) != 0 {
			t.Errorf("10 ms after the end of the grant: %+v", list)
		}
		cancel()
		<-ended
		<-following
	})
}
