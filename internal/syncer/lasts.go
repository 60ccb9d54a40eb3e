package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// answerBytes bounds what a server sends for one question, before it is asked to go on.
	answerBytes = 4 << 20
	// lastsTries bounds how often a question is asked whose messages were removed while they were looked up.
	lastsTries = 5

	pendingHeader = "Nats-Num-Pending"
	upToHeader    = "Nats-UpTo-Sequence"
)

// A last is the last message of a subject.
type last struct {
	seq    uint64
	header nats.Header
	data   []byte
}

// lasts asks a stream for the last messages of many subjects, at most 1,024, in one request. Subjects that have none are missing.
// A replica may answer: upTo is how far it had the stream, 0 if it had none of the subjects. It is a batched direct get, as
// https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md has it.
func (s *store) lasts(ctx context.Context, stream string, subjects []string) (found map[string]last, upTo uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	found = make(map[string]last, len(subjects))
	for from, moved := uint64(1), 0; ; {
		next, end, err := s.lastsFrom(ctx, stream, subjects, from, found)
		switch {
		case errors.Is(err, errMoved) && moved < lastsTries:
			moved++
			continue
		case err != nil:
			return nil, 0, fmt.Errorf("ask %s for the last messages of %d subjects: %w", stream, len(subjects), err)
		}
		if upTo == 0 {
			upTo = end
		}
		if next == 0 {
			return found, upTo, nil
		}
		from = next
	}
}

// lastsFrom adds to found what has sequence from or a later one and fits one answer. It returns where to go on, 0 if that was all.
func (s *store) lastsFrom(ctx context.Context, stream string, subjects []string, from uint64, found map[string]last) (next, upTo uint64, err error) {
	nc := s.js.Conn()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()                                                              // fails when the connection is closed, and the subscription with it
	ask, _ := json.Marshal(map[string]any{"multi_last": subjects, "seq": from, "max_bytes": answerBytes}) // strings and numbers: cannot fail
	if err := nc.PublishRequest(apiPrefix(s.js)+"DIRECT.GET."+stream, inbox, ask); err != nil {
		return 0, 0, err
	}
	// Each message, and the end, say which was before: one that is lost on its way must not be taken for a subject without any.
	before := uint64(0)
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return 0, 0, err
		}
		switch status, told := m.Header.Get("Status"), m.Header.Get("Description"); {
		case status == "404" && told == "No Results":
			return 0, 0, nil
		case status == "404":
			return 0, 0, errMoved
		case status != "" && status != "204":
			return 0, 0, fmt.Errorf("status %s %s", status, told)
		}
		if told := m.Header.Get(jetstream.LastSequenceHeader); told != strconv.FormatUint(before, 10) {
			return 0, 0, fmt.Errorf("what came after message %d says that it comes after %q", before, told)
		}
		if m.Header.Get("Status") == "204" {
			if m.Header.Get(pendingHeader) != "0" {
				next = before + 1
			}
			upTo, err = strconv.ParseUint(m.Header.Get(upToHeader), 10, 64)
			return next, upTo, err
		}
		if before, err = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
			return 0, 0, err
		}
		found[m.Header.Get(jetstream.SubjectHeader)] = last{seq: before, header: m.Header, data: m.Data}
	}
}

var errMoved = errors.New("a message was removed while it was looked up")
