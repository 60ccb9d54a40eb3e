package natstest

import (
	"testing"
	"time"
)

// Eventually polls cond until it returns nil. After the deadline it fails the test with cond's last
// error. It pauses a millisecond after the first try and longer after each further one, up to 50
// ms.
func Eventually(tb testing.TB, deadline time.Duration, cond func() error) {
	tb.Helper()
	end := time.Now().Add(deadline)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("not within %s: %v", deadline, err)
		}
		<-time.After(wait)
	}
}
