package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"entitled/internal/console/hub"
	"entitled/internal/pulse"
	"entitled/internal/tell"
)

const (
	// sampleEvery is the pause between two samples. A page that is opened shows one that is fresh.
	sampleEvery = 2 * time.Second
	fresh       = time.Second
)

// An overview is a sample with the sentences about it.
type overview struct {
	*pulse.Sample
	// CoverageEvery is the interval of the coverage check.
	CoverageEvery time.Duration
}

// showOverview answers GET /.
func showOverview(v *visit) (answer, error) {
	s, err := v.pulse.Take(v.ctx)
	return answer{template: "overview", title: "Overview", data: overview{s, v.cfg.CoverageEvery}}, err
}

// frame is what the stream of the overview sends: the live parts of the page, or why there are none.
func (c *Console) frame(ctx context.Context) []byte {
	s, err := c.pulse.Take(ctx)
	if err != nil {
		return c.part("overview", "live-problem", c.problemOf(err))
	}
	return c.part("overview", "live-figures", overview{s, c.cfg.CoverageEvery})
}

// part renders a part of a page as a message of a stream; nil if it cannot.
func (c *Console) part(page, name string, data any) []byte {
	var b bytes.Buffer
	if err := c.templates[page].ExecuteTemplate(&b, name, data); err != nil {
		c.cfg.Log.Error("could not render the live part of a page", "template", page, "err", err)
		return nil
	}
	return hub.Message("", b.Bytes())
}

// Dirty is the number of customers that wait for a sync. One with a marker in each lane counts twice.
func (o overview) Dirty() uint64 { return o.Now.Len() + o.Bulk.Len() }

// Since is the time from t to the sample; 0 for the zero time.
func (o overview) Since(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, o.At.Sub(t))
}

// Overdue reports whether events wait so long for the coverage check that it cannot be running; the
// doctor judges the same.
func (o overview) Overdue() bool {
	return o.Since(o.Unchecked) > 2*o.CoverageEvery+time.Minute
}

// Behind reports whether a marker of the lane for webhooks waits longer than one ever should, as the
// doctor judges.
func (o overview) Behind() bool { return o.Since(o.Now.Oldest) > time.Minute }

// rate writes a number of events or requests a second.
func rate(perSecond float64) string {
	if perSecond < 10 && perSecond != math.Trunc(perSecond) {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return number(int(math.Round(perSecond)))
}

// A chart is one series of the samples, for uPlot and in words.
type chart struct {
	Name, Title, Unit, Words string
	values                   []*float64
}

// Charts are those of the overview.
func (o overview) Charts() []chart {
	list := []chart{
		{Name: "webhooks", Title: "Webhooks", Unit: "per second"},
		{Name: "wait", Title: "Webhook → snapshot", Unit: "ms, median"},
		{Name: "dirty", Title: "Waiting for a sync", Unit: "customers"},
		{Name: "budget", Title: "Requests to Stripe", Unit: "per second"},
	}
	for _, p := range o.Points {
		dirty := float64(p.Dirty)
		var wait *float64
		if p.Median != nil {
			ms := float64(p.Median.Microseconds()) / 1000
			wait = &ms
		}
		for i, value := range []*float64{&p.PerSecond, wait, &dirty, p.Used} {
			list[i].values = append(list[i].values, value)
		}
	}
	for i := range list {
		list[i].Words = words(list[i].values)
	}
	return list
}

// words are the text alternative of a chart.
func words(values []*float64) string {
	least, most, last := math.Inf(1), math.Inf(-1), "unknown"
	for i, v := range values {
		if v == nil {
			continue
		}
		least, most = min(least, *v), max(most, *v)
		if i == len(values)-1 {
			last = rate(*v)
		}
	}
	if most < least {
		return "nothing to show yet"
	}
	if rate(least) == rate(most) {
		return "constantly " + rate(most)
	}
	if last == "unknown" {
		return fmt.Sprintf("from %s to %s", rate(least), rate(most))
	}
	return fmt.Sprintf("from %s to %s, now %s", rate(least), rate(most), last)
}

// Series are the charts for the script: the times in unix seconds, and the values by the chart's name.
func (o overview) Series() (string, error) {
	series := map[string]any{}
	times := make([]int64, len(o.Points))
	for i, p := range o.Points {
		times[i] = p.At.Unix()
	}
	series["t"] = times
	for _, c := range o.Charts() {
		series[c.Name] = c.values
	}
	b, err := json.Marshal(series)
	return string(b), err
}

// SweptText says how long ago the last nightly sweep was, or that there was none.
func (o overview) SweptText() string {
	if o.Swept.Ended.IsZero() {
		return "no nightly sweep yet: the next is at 03:00 UTC"
	}
	return fmt.Sprintf("at the nightly sweep %s, of %s", tell.Since(o.Swept.Ended, o.At),
		tell.Count(o.Swept.Subscriptions, "subscription"))
}
