package store

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/protocol"
)

// A plansStream answers with one document after the other, the last one again. during runs in its
// first read.
type plansStream struct {
	jetstream.Stream
	texts  []string
	read   uint64
	during func()
}

type plansKV struct{ jetstream.KeyValue }

func (plansKV) Bucket() string { return "entitled_plans" }

func (p *plansStream) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	text := p.texts[0]
	if len(p.texts) > 1 {
		p.texts = p.texts[1:]
	}
	p.read++
	revision := p.read
	if f := p.during; f != nil {
		p.during = nil
		f()
	}
	return &jetstream.RawStreamMsg{Sequence: revision, Data: []byte(text)}, nil
}

// A document is applied while two goroutines read: the one that read the former document reads
// again, since the bucket is as it must be.
func TestDocumentReadDuringApply(t *testing.T) {
	t.Parallel()
	p := &plansStream{texts: []string{`{"number": 1}`, `{"number": 2}`}}
	s := &Store{mode: entitlement.Test, Plans: &KV{KeyValue: plansKV{}, only: p}}
	p.during = func() {
		if d, err := s.Document(t.Context(), 0); err != nil || d.Number != 2 {
			t.Errorf("the read between: %v, %v", d, err)
		}
	}
	if d, err := s.Document(t.Context(), 0); err != nil || d.Number != 2 {
		t.Errorf("%v, %v, want document 2", d, err)
	}
	// A bucket that stays behind is refused.
	if _, err := s.Document(t.Context(), 3); !errors.Is(err, protocol.ErrPlans) {
		t.Errorf("%v, want a refusal", err)
	}
}
