package stripesim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Story is the history of one customer, for demonstrations.
type Story struct {
	Name  string // the customer's first name, in lower case
	About string // a summary, such as "upgrade"
	// Customer is the customer's id. If it exists, the story continues with that customer. Defaults
	// to a generated id.
	Customer string
	// Account is a connected account; "" for the platform's own.
	Account string
	Steps   []Step
}

// Step is one step of a [Story].
type Step struct {
	At  time.Duration // since the story's start, on the simulator's clock
	Say string        // a description that follows the name, such as "buys Pro"
	// Do makes the change. It is nil if the change happens by the clock alone.
	Do func(c *Cast) error
}

// Cast is the customer of a [Story], as its steps see it.
type Cast struct {
	*Account                      // the customer's account
	Customer, Subscription string // ids; empty until a step creates the object
	Name, Email            string
}

// Progress describes a step of a [Story] that [Sim.RunStories] has done.
type Progress struct {
	Story    string    // the story's name
	Customer string    // the customer's id
	Account  string    // the connected account; "" for the platform's own
	Time     time.Time // on the simulator's clock
	Say      string    // as in [Step]
}

const day = 24 * time.Hour

// Stories returns eight stories with the prices of [Account.DemoCatalog]: a renewal, a trial, an
// upgrade, a failed payment, a wire.Cancellation, a deletion, a connected account and more seats. They
// last five weeks. The metadata of a customer with the id cus_Amelia has user_id: amelia.
func Stories() []Story {
	buy := func(price string, trialDays int) func(*Cast) error {
		return func(c *Cast) error {
			done, err := c.Checkout(CheckoutParams{
				Customer: c.Customer, Email: c.Email, Name: c.Name, Price: price, TrialDays: trialDays,
				Metadata: userID(c.Customer),
			})
			if err == nil {
				c.Customer, c.Subscription = done.Customer, done.Subscription
			}
			return err
		}
	}
	return []Story{
		{Name: "amelia", About: "checkout and renewal", Steps: []Step{
			{0, "buys Pro", buy("price_pro_monthly", 0)},
			{32 * day, "has been renewed", nil},
		}},
		{Name: "bruno", About: "a trial that becomes a subscription", Steps: []Step{
			{1 * day, "tries Pro for 14 days", buy("price_pro_monthly", 14)},
			{12*day + 12*time.Hour, "is told that the trial will end", nil},
			{16 * day, "pays the first period", nil},
		}},
		{Name: "chloe", About: "upgrade", Steps: []Step{
			{2 * day, "buys Starter", buy("price_starter_monthly", 0)},
			{14 * day, "upgrades to Team", func(c *Cast) error {
				return c.ChangePrice(c.Subscription, "price_team_monthly")
			}},
		}},
		{Name: "dmitri", About: "a failed payment and its recovery", Steps: []Step{
			{3 * day, "buys Team", buy("price_team_monthly", 0)},
			{7 * day, "has a card that stops working", func(c *Cast) error { return c.FailPayments(c.Customer) }},
			{34*day + 12*time.Hour, "is past due: the renewal failed", nil},
			{38 * day, "pays with another card", func(c *Cast) error {
				card := PaymentMethodParams{Brand: "mastercard", Last4: "4444"}
				if _, err := c.AttachPaymentMethod(c.Customer, card, true); err != nil {
					return err
				}
				return c.RecoverPayments(c.Customer)
			}},
		}},
		{Name: "elif", About: "cancellation at the period's end", Steps: []Step{
			{4 * day, "buys Pro", buy("price_pro_monthly", 0)},
			{19 * day, "cancels, with access until the period ends", func(c *Cast) error {
				return c.CancelAtPeriodEnd(c.Subscription)
			}},
			{36 * day, "has lost access", nil},
		}},
		{Name: "farah", About: "deletion", Steps: []Step{
			{5 * day, "buys Starter", buy("price_starter_monthly", 0)},
			{17 * day, "is deleted", func(c *Cast) error { return c.DeleteCustomer(c.Customer) }},
		}},
		{Name: "gus", About: "a customer of a connected account", Account: "acct_EU", Steps: []Step{
			{6 * day, "buys Pro", buy("price_pro_monthly", 0)},
			{18 * day, "adds seats", func(c *Cast) error {
				s, _ := c.Account.Subscription(c.Subscription)
				return c.SetQuantity(s.ID, s.Items[0].ID, 5)
			}},
			{37*day + 12*time.Hour, "has been renewed", nil},
		}},
		{Name: "hana", About: "seats", Steps: []Step{
			{7*day + 12*time.Hour, "buys Team", buy("price_team_monthly", 0)},
			{20 * day, "buys seats, 12 in all", func(c *Cast) error {
				s, _ := c.Account.Subscription(c.Subscription)
				return c.SetQuantity(s.ID, s.Items[0].ID, 12)
			}},
		}},
	}
}

// userID is metadata with an id of your own.
func userID(customer string) map[string]string {
	return map[string]string{"user_id": strings.ToLower(strings.TrimPrefix(customer, "cus_"))}
}

// DemoCatalog creates the products Starter, Pro and Team, with features and the monthly prices
// price_starter_monthly, price_pro_monthly and price_team_monthly. It skips those that exist.
func (a *Account) DemoCatalog() error {
	for _, p := range []struct {
		id, name string
		amount   int64
		features []string
	}{
		{"starter", "Starter", 900, []string{"export"}},
		{"pro", "Pro", 2900, []string{"export", "api_access"}},
		{"team", "Team", 9900, []string{"export", "api_access", "sso", "audit_log"}},
	} {
		product, price := "prod_"+p.id, "price_"+p.id+"_monthly"
		a.w.mu.RLock()
		_, hasProduct := a.w.products[product]
		_, hasPrice := a.w.prices[price]
		a.w.mu.RUnlock()
		if !hasProduct {
			if _, err := a.CreateProduct(ProductParams{ID: product, Name: p.name, Features: p.features}); err != nil {
				return fmt.Errorf("demo catalog: %w", err)
			}
		}
		if !hasPrice {
			params := PriceParams{ID: price, Product: product, LookupKey: p.id + "_monthly", UnitAmount: p.amount}
			if _, err := a.CreatePrice(params); err != nil {
				return fmt.Errorf("demo catalog: %w", err)
			}
		}
	}
	return nil
}

// RunStories plays stories side by side, in the order of their steps' times. Each step moves the
// clock to its time, and the customers live by it; steps are pace of wall time apart. After each step
// RunStories calls report, if it is not nil.
func (c *Clock) RunStories(ctx context.Context, stories []Story, pace time.Duration, report func(Progress)) error {
	type scene struct {
		cast  *Cast
		story *Story
		step  Step
	}
	var scenes []scene
	for i := range stories {
		story := &stories[i]
		account := c.sim.Account
		if story.Account != "" {
			account = c.sim.Connect(story.Account)
		}
		if err := account.DemoCatalog(); err != nil {
			return err
		}
		cast := &Cast{Account: account.On(c), Customer: story.Customer, Name: story.Name, Email: story.Name + "@example.com"}
		for _, step := range story.Steps {
			scenes = append(scenes, scene{cast, story, step})
		}
	}
	slices.SortStableFunc(scenes, func(a, b scene) int { return cmp.Compare(a.step.At, b.step.At) })
	begin := c.Now()
	for i, sc := range scenes {
		if i > 0 && !pause(ctx, pace) || ctx.Err() != nil {
			return fmt.Errorf("stories: %w", ctx.Err())
		}
		c.AdvanceTo(begin.Add(sc.step.At))
		if sc.step.Do != nil {
			if err := sc.step.Do(sc.cast); err != nil {
				return fmt.Errorf("story of %s: %w", sc.story.Name, err)
			}
		}
		if report != nil {
			report(Progress{
				Story: sc.story.Name, Customer: sc.cast.Customer, Account: sc.story.Account,
				Time: c.Now(), Say: sc.step.Say,
			})
		}
	}
	return nil
}
