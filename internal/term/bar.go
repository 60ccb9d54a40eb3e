package term

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// A Bar shows the progress of one step of work, and the time that remains. A nil Bar shows nothing.
type Bar struct{ bar *progressbar.ProgressBar }

// NewBar returns a bar for total units of work, or for an unknown amount if total is -1. unit is
// the noun for the rate, such as "events"; with no unit the bar shows no rate. The bar is
// nil if no terminal shows it or if there is no work.
func NewBar(out Terminal, total int64, what, unit string) *Bar {
	if !out.Screen || total == 0 {
		return nil
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionSetWidth(max(10, out.Width()-60)),
		progressbar.OptionClearOnFinish(),
	}
	if unit != "" {
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit))
	}
	return &Bar{progressbar.NewOptions64(total, options...)}
}

// Set shows that n units are done.
func (b *Bar) Set(n int64) {
	if b != nil {
		_ = b.bar.Set64(n)
	}
}

// Describe replaces the description of the step.
func (b *Bar) Describe(what string) {
	if b != nil {
		b.bar.Describe(what)
	}
}

// End removes the bar from the terminal.
func (b *Bar) End() {
	if b != nil {
		_ = b.bar.Finish()
	}
}
