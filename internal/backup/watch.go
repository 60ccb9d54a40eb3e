package backup

import (
	"context"
	"fmt"
	"time"
)

// defaultIdle is how long NATS may send or take nothing before it is given up.
const defaultIdle = 30 * time.Second

// A watch ends its context when nothing has happened for a while: neither a snapshot nor a restore does so by
// itself when the server that serves it dies.
type watch struct {
	context.Context
	timer *time.Timer
	idle  time.Duration
	end   context.CancelCauseFunc
}

func watchOver(ctx context.Context, idle time.Duration, what string) *watch {
	ctx, end := context.WithCancelCause(ctx)
	w := &watch{Context: ctx, idle: idle, end: end}
	w.timer = time.AfterFunc(idle, func() {
		end(fmt.Errorf("%s: nothing came for %s: is the server still there?", what, idle))
	})
	return w
}

// touch says that something happened.
func (w *watch) touch() {
	if w.Err() == nil {
		w.timer.Reset(w.idle)
	}
}

// stop ends the watch, and its context.
func (w *watch) stop() {
	w.timer.Stop()
	w.end(nil)
}

// why is err, or what ended the watch.
func (w *watch) why(err error) error {
	if err != nil && w.Err() != nil {
		return context.Cause(w)
	}
	return err
}
