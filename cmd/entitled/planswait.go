package main

import (
	"context"
	"errors"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/rollout"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// wait shows the progress of the syncers until every customer is decided under the document of this
// number, or a later one, from all facts that it needs.
func (v *plansView) wait(ctx context.Context, s *command.Session, number uint64) error {
	var deciding, reading *term.Bar
	announced := false
	defer func() { deciding.End(); reading.End() }()
	w := rollout.Wait{
		JS: v.JS, Mode: v.Mode, Bucket: v.bucket, Number: number, Now: s.Now, Note: s.Err.Note,
		Decided: func(done, of int64) {
			if deciding == nil {
				deciding = term.NewBar(s.Err, of, "decide again", "customers")
			}
			deciding.Set(done)
		},
		Read: func(done, of int64) {
			if !announced {
				announced = true
				deciding.End()
				if reading = term.NewBar(s.Err, of, "read from Stripe", "customers"); reading == nil {
					s.Err.Note(fmt.Sprintf("%s must be read from Stripe, within STRIPE_RATE",
						tell.Count(int(of), "customer")))
				}
			}
			reading.Set(done)
		},
	}
	number, err := w.Run(ctx)
	var unread *rollout.UnreadError
	switch {
	case ctx.Err() != nil:
		return tell.WithHint(errors.New("interrupted: the document is in force"), "the syncers go on deciding")
	case errors.As(err, &unread):
		return tell.WithHint(err, "`entitled parked` shows why, and tries them again")
	case err != nil:
		return command.NeedsOps(err)
	}
	deciding.End()
	reading.End()
	s.Err.Note(fmt.Sprintf("every customer is decided under document %d", number))
	return nil
}
