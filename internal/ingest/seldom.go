package ingest

import (
	"sync"
	"time"
)

// every is how often one kind of trouble may be logged.
const every = 10 * time.Second

// seldom keeps a kind of log line rare: whoever can send requests must not be able to fill a disk.
type seldom struct {
	mu   sync.Mutex // held for a few instructions: next and held belong together
	next time.Time
	held int
}

// allow reports whether a line may be logged at now, and how many were not since the last one.
func (s *seldom) allow(now time.Time) (held int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.held++
		return 0, false
	}
	held, s.held = s.held, 0
	s.next = now.Add(every)
	return held, true
}
