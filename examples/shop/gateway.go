package shop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// A gateway asks the gateway of entitled, as docs/gateway.md and docs/checkout.md say.
type gateway struct {
	url, key string
	http     *http.Client
}

// A decision is what a customer is entitled to now. There are more fields; these are the ones that the shop uses.
type decision struct {
	Allowed  bool
	Until    *int64 // in unix seconds; absent if access is open-ended
	Status   string // Stripe's status of the subscription, none without one
	Plans    []string
	Features []string
	Grants   []struct {
		Features []string
		Until    *int64
	}
}

// A refusal is an error that the gateway answered.
type refusal struct {
	status  int
	Code    string `json:"error"`
	Message string
}

func (e *refusal) Error() string {
	return fmt.Sprintf("the gateway answers %d %s: %s", e.status, e.Code, e.Message)
}

// customer is the path of a user's customer. The prefix id: keeps ids of yours apart from Stripe's.
func customer(u user) string { return "/v1/customers/" + url.PathEscape("id:"+u.ID) }

func (g gateway) decision(ctx context.Context, u user) (d decision, err error) {
	err = g.ask(ctx, customer(u), nil, &d)
	return d, err
}

// sync has the customer read from Stripe first.
func (g gateway) sync(ctx context.Context, u user) (d decision, err error) {
	err = g.ask(ctx, customer(u)+"/sync", struct{}{}, &d)
	return d, err
}

// allowed asks about one feature.
func (g gateway) allowed(ctx context.Context, u user, feature string) (bool, error) {
	var answer struct{ Allowed bool }
	err := g.ask(ctx, customer(u)+"/features/"+feature, nil, &answer)
	return answer.Allowed, err
}

// checkout returns the address of Stripe's payment page, and portal that of its customer portal.
func (g gateway) checkout(ctx context.Context, u user, purchase map[string]any) (string, error) {
	var answer struct{ URL string }
	err := g.ask(ctx, customer(u)+"/checkout", purchase, &answer)
	return answer.URL, err
}

func (g gateway) portal(ctx context.Context, u user, back string) (string, error) {
	var answer struct{ URL string }
	err := g.ask(ctx, customer(u)+"/portal", map[string]string{"return_url": back}, &answer)
	return answer.URL, err
}

// token returns a token for the browser: it is good for one customer, for ten minutes.
func (g gateway) token(ctx context.Context, u user) (string, error) {
	var answer struct{ Token string }
	err := g.ask(ctx, "/v1/tokens", map[string]any{"id": u.ID, "ttl": 600}, &answer)
	return answer.Token, err
}

// periodEnd returns when the paid period ends, in unix seconds; 0 for a user without a subscription.
func (g gateway) periodEnd(ctx context.Context, u user) (end int64, err error) {
	var snapshot struct {
		Subscriptions []struct {
			Access           bool
			CurrentPeriodEnd int64 `json:"current_period_end"`
		}
	}
	err = g.ask(ctx, customer(u)+"/snapshot", nil, &snapshot)
	if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusNotFound {
		return 0, nil // the user has no customer yet
	}
	for _, s := range snapshot.Subscriptions {
		if s.Access {
			end = max(end, s.CurrentPeriodEnd)
		}
	}
	return end, err
}

// catalogue returns the features that the plans document in force has.
func (g gateway) catalogue(ctx context.Context, u user) (features []string, err error) {
	var answer struct{ Flags []struct{ Key string } }
	of := map[string]any{"context": map[string]string{"targetingKey": "id:" + u.ID}}
	err = g.ask(ctx, "/ofrep/v1/evaluate/flags", of, &answer)
	for _, f := range answer.Flags {
		features = append(features, f.Key)
	}
	return features, err
}

// ask sends body as JSON, or GET without one, and decodes the answer.
func (g gateway) ask(ctx context.Context, route string, body, answer any) error {
	method, text := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		text, _ = json.Marshal(body) // strings and numbers
	}
	req, err := http.NewRequestWithContext(ctx, method, g.url+route, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		e := &refusal{status: resp.StatusCode}
		_ = json.NewDecoder(resp.Body).Decode(e) // without JSON, the status is all there is
		return e
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
