package backup

import (
	"context"
	"fmt"
	"time"
)

// defaultIdle is the default of Options.Idle.
const defaultIdle = 30 * time.Second

// A watch ends its context when nothing has happened for a while. A snapshot or a restore does not
// end by itself when its server dies.
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
		end(fmt.Errorf("%s: nothing arrived for %s: check that the server is running", what, idle))
	})
	return w
}

// touch records that something happened.
func (w *watch) touch() {
	if w.Err() == nil {
		w.timer.Reset(w.idle)
	}
}

// stop ends the watch and its context.
func (w *watch) stop() {
	w.timer.Stop()
	w.end(nil)
}

// why returns the reason why the watch ended its context, else err.
func (w *watch) why(err error) error {
	if err != nil && w.Err() != nil {
		return context.Cause(w)
	}
	return err
}
