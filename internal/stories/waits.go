package stories

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
)

// waits says where the time went.
func waits(s *audit.Sync) string {
	if s.Record.Trigger == stripeevent.TriggerPlans {
		return "decided again from what was read before, 0 requests to Stripe"
	}
	var parts []string
	add := func(d time.Duration, what string) {
		if d >= time.Millisecond {
			parts = append(parts, tell.Short(d)+what)
		}
	}
	if s.Retry {
		add(s.Queued(), ", retried after a failure") // it waited for that, and not for a syncer
	} else {
		add(s.Queued(), " in the queue")
	}
	add(s.Paced(), " for its pace")
	add(s.Held(), heldFor(s))
	text := "no wait"
	if len(parts) > 0 {
		text = "waited " + strings.Join(parts, ", ")
	}
	if s.Record.StripeRequests > 0 || s.Working() > 0 {
		text += fmt.Sprintf(" · worked %s, %s to Stripe", tell.Short(s.Working()), tell.Count(s.Record.StripeRequests, "request"))
	}
	return text
}

func heldFor(s *audit.Sync) string {
	if s.Record.Conflicts > 0 {
		return " for the budget and the dropped readings"
	}
	return " for the budget"
}
