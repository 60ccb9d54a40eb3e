package main

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
)

// waits says where the time went.
func waits(s *audit.Sync) string {
	var parts []string
	add := func(d time.Duration, what string) {
		if d >= time.Millisecond {
			parts = append(parts, short(d)+what)
		}
	}
	if s.Retry {
		add(s.Queued(), ", tried again after a failure") // it waited for that, and not for a syncer
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
		text += fmt.Sprintf(" · worked %s, %s to Stripe", short(s.Working()), count(s.Record.StripeRequests, "request"))
	}
	return text
}

func heldFor(s *audit.Sync) string {
	if s.Record.Conflicts > 0 {
		return " for the budget and the readings thrown away"
	}
	return " for the budget"
}
