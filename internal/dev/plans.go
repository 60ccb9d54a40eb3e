package dev

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/stripesim"
)

// The documents that decide for simulated customers: the first from the start, the second while
// they live.
var (
	//go:embed plans/first.yaml
	firstPlans []byte
	//go:embed plans/second.yaml
	secondPlans []byte
)

// plansAuthor is in the log of the documents beside those that dev applies. A document of somebody
// else stays in force.
const plansAuthor = "entitled dev"

// applyWithin bounds putting a document in force. NATS, which is asked, is in this process.
const applyWithin = 10 * time.Second

// applyPlans puts a document in force, unless it is already, or somebody else's is. It returns the
// document's number, 0 if it did not.
func (d *dev) applyPlans(ctx context.Context, text []byte, why string) (number uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	bucket, now, err := d.plansInForce(ctx)
	if err != nil || now.Present() && now.By != plansAuthor {
		return 0, err
	}
	document, _, err := plans.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("the document of dev: %w", err)
	}
	if now.Document != nil && applied.Same(document, now.Document) {
		return 0, nil
	}
	if document.Number, err = bucket.Next(ctx, now, d.tally.greatestPlans()); err != nil {
		return 0, err
	}
	err = bucket.Apply(ctx, document, now, plansAuthor, why)
	if errors.Is(err, applied.ErrConflict) {
		return 0, nil // somebody applied another one this moment
	}
	return document.Number, err
}

func (d *dev) plansInForce(ctx context.Context) (*applied.Bucket, applied.InForce, error) {
	js, err := jetstream.New(d.nc)
	if err != nil {
		return nil, applied.InForce{}, err
	}
	bucket, err := applied.Open(ctx, js, d.Syncer.Mode)
	if err != nil {
		return nil, applied.InForce{}, err
	}
	now, err := bucket.InForce(ctx)
	return bucket, now, err
}

// plansStory is the story in which the second document is applied while customers live.
func (d *dev) plansStory(ctx context.Context) stripesim.Story {
	return stripesim.Story{Name: "plans", About: "another plans document", Steps: []stripesim.Step{{
		At: 21 * 24 * time.Hour, Say: "pro may use sso",
		Do: func(*stripesim.Cast) error {
			number, err := d.applyPlans(ctx, secondPlans, "pro may use sso")
			if err != nil || number == 0 {
				return err
			}
			if !d.JSON {
				d.say.Note(fmt.Sprintf("plans document %d is applied: pro may use sso; see %s", number,
					d.command("plans log")))
			}
			return nil
		},
	}}}
}

// partnerFor is how long the grant of partnerStory lasts. Readers compare its end with their own
// clock, not with the simulator's.
const partnerFor = 6 * time.Second

// partnerStory is the story of a customer that has no subscription, but a plan for a while, which its
// metadata grants.
func (d *dev) partnerStory() stripesim.Story {
	return stripesim.Story{Name: "ines", About: "access by hand", Steps: []stripesim.Step{{
		At: 8 * 24 * time.Hour, Say: "is a partner, and has Pro for a while",
		Do: func(c *stripesim.Cast) error {
			id, err := c.CreateCustomer(stripesim.CustomerParams{
				ID: c.Customer, Email: c.Email, Name: c.Name, NoPaymentMethod: true,
				Metadata: map[string]string{
					"user_id":       strings.ToLower(strings.TrimPrefix(c.Customer, "cus_")),
					"entitled_plan": "pro", "entitled_note": "partner",
					"entitled_until": strconv.FormatInt(time.Now().Add(partnerFor).Unix(), 10),
				},
			})
			c.Customer = id
			return err
		},
	}, {
		At: 37 * 24 * time.Hour, Say: "is no partner any more",
		Do: func(c *stripesim.Cast) error {
			if a := d.client.Decide(c.Customer, "export"); !d.JSON && a.Reason == entitlement.Ended {
				d.say.Note(c.Customer + " lost export by the clock alone: its grant ended at " +
					time.Unix(*a.Until, 0).UTC().Format(time.TimeOnly))
			}
			return nil
		},
	}}}
}

// decided returns an error until the snapshots are decided under the document in force.
func (d *dev) decided(ctx context.Context) error {
	bucket, now, err := d.plansInForce(ctx)
	if err != nil || now.Document == nil {
		return err
	}
	p, err := bucket.ReadProgress(ctx)
	if err == nil && p.Number < now.Number {
		err = fmt.Errorf("the snapshots are not decided under plans document %d yet", now.Number)
	}
	return err
}

// greatestPlans is the greatest plans_revision of the snapshots that were seen.
func (t *tally) greatestPlans() (greatest uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.known {
		greatest = max(greatest, s.PlansRevision)
	}
	return greatest
}
