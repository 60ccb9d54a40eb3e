package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/topology"
)

const (
	notFound = `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`
	taken    = `{"error":{"code":400,"err_code":10130,"description":"taken"}}`
)

// cluster is the JetStream API of a cluster, as far as a restore's request needs it.
type cluster struct {
	// info answers a question about the stream.
	info string
	// lost is how many answers to requests are lost.
	lost  int
	taken bool
	asked []string
	// silent is how many questions about the stream get no answer.
	silent int
}

func (c *cluster) answer(m *nats.Msg) {
	call := strings.Split(strings.TrimPrefix(m.Subject, "$JS.API.STREAM."), ".")[0]
	c.asked = append(c.asked, call)
	answer := c.info
	switch {
	case call == "INFO" && c.silent > 0:
		c.silent--
		return
	case call == "DELETE" && c.taken:
		answer, c.taken = `{"success":true}`, false
	case call == "DELETE":
		answer = notFound
	case call == "RESTORE" && c.taken:
		answer = taken
	case call == "RESTORE":
		answer, c.taken = `{"deliver_subject":"there"}`, true
		if c.lost--; c.lost >= 0 {
			return
		}
	}
	m.Respond([]byte(answer)) //nolint:errcheck // the restore fails then
}

// restorer restores into c.
func (c *cluster) restorer(t *testing.T) *restorer {
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	nc := natstest.RunFile(t, file).Conn(t)
	if _, err := nc.Subscribe("$JS.API.STREAM.*.S", c.answer); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := &restorer{nc: nc, js: js, run: "this"}
	r.Idle = 5 * time.Second
	return r
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	c := &cluster{info: notFound, lost: 1}
	begun, err := c.restorer(t).begin(t.Context(), "S", []byte("{}"))
	if err != nil || begun.DeliverSubject != "there" {
		t.Errorf("begin = %q, %v; want the answer to the second request", begun.DeliverSubject, err)
	}
	if got, want := strings.Join(c.asked, " "), "RESTORE INFO DELETE DELETE RESTORE"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
}

// A stream that somebody else creates meanwhile is left alone.
func TestLostAnswerBesideAnother(t *testing.T) {
	t.Parallel()
	c := &cluster{info: `{"config":{"name":"S"}}`, lost: 1}
	if _, err := c.restorer(t).begin(t.Context(), "S", []byte("{}")); err == nil {
		t.Error("begin succeeds, want an error")
	}
	if got, want := strings.Join(c.asked, " "), "RESTORE INFO"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
}

// A name that is taken at the first request is an error at once.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	c := &cluster{info: `{"config":{"name":"S"}}`, taken: true}
	if _, err := c.restorer(t).begin(t.Context(), "S", []byte("{}")); err == nil {
		t.Error("begin succeeds, want the refusal")
	}
	if got, want := strings.Join(c.asked, " "), "RESTORE"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
}

// A stream that is electing a leader is asked again.
func TestPresentAsksAgain(t *testing.T) {
	t.Parallel()
	const stream = topology.EventsStream
	c := &cluster{info: `{"config":{"name":"` + stream + `","metadata":{"a":"b"}}}`, silent: 1}
	r := c.restorer(t)
	var err error
	if r.js, err = jetstream.New(r.nc, jetstream.WithDefaultTimeout(200*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for subject, answer := range map[string]nats.MsgHandler{
		"$JS.API.STREAM.NAMES": func(m *nats.Msg) {
			m.Respond([]byte(`{"total":1,"limit":10,"streams":["` + stream + `"]}`)) //nolint:errcheck // the restore fails then
		},
		"$JS.API.STREAM.INFO." + stream: c.answer,
	} {
		if _, err := r.nc.Subscribe(subject, answer); err != nil {
			t.Fatal(err)
		}
	}
	found, err := r.present(t.Context())
	if err != nil || found[stream]["a"] != "b" {
		t.Errorf("present = %v, %v; want the stream with its metadata", found, err)
	}
}
