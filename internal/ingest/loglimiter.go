package ingest

import (
	"sync"
	"time"
)

// logEvery is the shortest time between two log lines of one kind.
const logEvery = 10 * time.Second

// A logLimiter limits one kind of log line: strangers who send requests must not be able to fill a
// disk.
type logLimiter struct {
	mu         sync.Mutex // guards next and suppressed
	next       time.Time
	suppressed int
}

// allow reports whether a line may be logged now, and how many were suppressed since the last one.
func (l *logLimiter) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	l.next = now.Add(logEvery)
	return suppressed, true
}
