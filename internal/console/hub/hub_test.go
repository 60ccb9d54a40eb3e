package hub

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However many watch, one frame is made every interval, all get it, and none is made for nobody.
func TestHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var made, got atomic.Int64
		h := New(time.Second, func(context.Context) []byte { return fmt.Append(nil, made.Add(1)) })
		ctx, leave := context.WithCancel(t.Context())
		for range 50 {
			go func() {
				_ = h.Watch(ctx, func([]byte) error { got.Add(1); return nil })
			}()
		}
		synctest.Wait()
		if made.Load() != 1 || got.Load() != 50 {
			t.Errorf("at the start: %d frames made, %d received", made.Load(), got.Load())
		}
		time.Sleep(9500 * time.Millisecond)
		synctest.Wait()
		if made.Load() != 10 || got.Load() != 500 {
			t.Errorf("after 9.5 s: %d frames made, %d received", made.Load(), got.Load())
		}
		leave()
		synctest.Wait()
		time.Sleep(time.Minute)
		if made.Load() != 10 {
			t.Errorf("%d frames were made for nobody", made.Load()-10)
		}
		var first string
		gone := errors.New("gone")
		if err := h.Watch(t.Context(), func(f []byte) error {
			first = string(f)
			return gone
		}); err != gone || first != "11" {
			t.Errorf("one that comes back gets frame %q, %v", first, err)
		}
		h.Stop()
	})
}

// A watcher that is slow misses frames, and gets the newest; it delays no other.
func TestHubSlowWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := 0 // the hub makes one frame at a time, and nobody else looks
		h := New(time.Second, func(context.Context) []byte {
			made++
			return fmt.Append(nil, made)
		})
		var slow, fast []string
		go func() {
			_ = h.Watch(t.Context(), func(f []byte) error {
				slow = append(slow, string(f))
				time.Sleep(3300 * time.Millisecond)
				return nil
			})
		}()
		go func() {
			_ = h.Watch(t.Context(), func(f []byte) error { fast = append(fast, string(f)); return nil })
		}()
		time.Sleep(7600 * time.Millisecond)
		synctest.Wait()
		if fmt.Sprint(slow) != "[1 4 7]" || fmt.Sprint(fast) != "[1 2 3 4 5 6 7 8]" {
			t.Errorf("the slow one got %v, the other %v", slow, fast)
		}
		h.Stop()
		time.Sleep(time.Minute) // the slow one's sends end
	})
}

// Stop ends all streams and the making, and lets no other begin.
func TestHubStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := New(time.Second, func(ctx context.Context) []byte {
			<-ctx.Done() // as NATS that does not answer
			return nil
		})
		ended := make(chan error, 2)
		go func() { ended <- h.Watch(t.Context(), func([]byte) error { return nil }) }()
		synctest.Wait()
		h.Stop()
		ended <- h.Watch(t.Context(), func([]byte) error { return errors.New("sent") })
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
