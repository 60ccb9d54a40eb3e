package reduce

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/stripeapi"
)

// roundTrip is a Stripe that answers every list of subscriptions with one body.
type roundTrip func(*http.Request) (status int, body string)

func (rt roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := rt(r)
	return &http.Response{
		StatusCode: status, Request: r, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}, "Request-Id": {"req_1"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

const (
	customerJSON = `"customer":{"id":"cus_1","object":"customer","livemode":false,"metadata":{"tenant":"t_1"}}`
	itemJSON     = `{"id":"si_1","object":"subscription_item","quantity":3,"price":{"id":"price_1","lookup_key":"pro","product":"prod_1","recurring":{"usage_type":"licensed"}}}`
	meteredJSON  = `{"id":"si_2","object":"subscription_item","price":{"id":"price_2","product":"prod_2","recurring":{"usage_type":"metered"}}}`
)

// subscriptionJSON is a subscription, with rest after its common fields.
func subscriptionJSON(id, status, items, rest string) string {
	return `{"id":"` + id + `","object":"subscription","livemode":false,"status":"` + status +
		`","current_period_start":1770000000,"current_period_end":1772419200,` +
		customerJSON + `,"items":{"object":"list","has_more":false,"data":[` + items + `]}` + rest + `}`
}

func listJSON(subs ...string) string {
	return `{"object":"list","has_more":false,"data":[` + strings.Join(subs, ",") + `]}`
}

// entitlementsJSON is the answer that lists active entitlements of these features. Bytes that are
// not UTF-8 are replaced, as in any JSON.
func entitlementsJSON(t *testing.T, lookupKeys []string) string {
	t.Helper()
	list := make([]string, len(lookupKeys))
	for i, key := range lookupKeys {
		b, err := json.Marshal(map[string]string{"id": fmt.Sprint("ent_", i),
			"object": "entitlements.active_entitlement", "lookup_key": key})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = string(b)
	}
	return listJSON(list...)
}

// FuzzReduce reads and reduces drawn answers of Stripe: nothing panics, the same answer gives the
// same bytes, and the order of subscriptions, items and features does not matter.
func FuzzReduce(f *testing.F) {
	for _, body := range []string{
		listJSON(subscriptionJSON("sub_1", "active", itemJSON, `,"cancel_at_period_end":true,"metadata":{"a":"b"}`)),
		listJSON(subscriptionJSON("sub_2", "past_due", itemJSON+","+meteredJSON,
			`,"default_payment_method":{"id":"pm_1","type":"card","card":{"brand":"visa","last4":"4242"}}`),
			subscriptionJSON("sub_1", "trialing", itemJSON, `,"trial_end":1771000000,"cancel_at":1771500000`)),
		listJSON(subscriptionJSON("sub_1", "canceled", itemJSON,
			`,"ended_at":1770100000,"canceled_at":1770100000,"default_payment_method":"pm_1"`)),
		listJSON(subscriptionJSON("sub_1", "frozen", "",
			`,"pause_collection":{"behavior":"void","resumes_at":1771000000},"metadata":null`)),
		listJSON(subscriptionJSON("sub_1", "active", `{"id":"si_1","price":null}`, "")),
		listJSON(subscriptionJSON("sub_1", "active",
			`{"id":"si_1","price":{"id":"p","product":null,"recurring":null}}`, "")),
		listJSON(subscriptionJSON("sub_1", "active", `null`, "")),
		listJSON(subscriptionJSON("sub_1", "active", `{"id":"si_1","quantity":1},{"id":"si_1","quantity":2}`, "")),
		listJSON(subscriptionJSON("sub_1", "past_due", "",
			`,"trial_end":9223372036854775807,"cancel_at":-9223372036854775808`)),
		listJSON(strings.Replace(subscriptionJSON("sub_1", "active", "", ""), `"metadata":{"tenant":"t_1"}`,
			`"deleted":true`, 1)),
		listJSON(`null`), listJSON(`{}`), listJSON(), `{}`, `null`, `<html>`, ``,
	} {
		f.Add([]byte(body), "pro,basic,pro", uint64(1))
	}
	var body, entitled string
	client, err := stripeapi.New(stripeapi.Config{Key: "sk_test_1",
		Transport: roundTrip(func(r *http.Request) (int, string) {
			switch r.URL.Path {
			case "/v1/subscriptions":
				return http.StatusOK, body
			case "/v1/entitlements/active_entitlements":
				return http.StatusOK, entitled
			}
			return http.StatusNotFound, `{"error":{"type":"invalid_request_error","code":"resource_missing","message":"No such customer","param":"customer"}}`
		})})
	if err != nil {
		f.Fatal(err)
	}
	unbounded := func(context.Context) error { return nil }
	f.Fuzz(func(t *testing.T, answer []byte, features string, shuffle uint64) {
		body, entitled = string(answer), entitlementsJSON(t, strings.Split(features, ","))
		read, _, err := client.Entitlements(true).Fetch(t.Context(), "", "cus_1", unbounded)
		if err != nil {
			return
		}
		asOf := time.Unix(1770500000, int64(shuffle%1e9))
		one := reduced(read, asOf)
		encoded := one.Encode()
		two := reduced(read, asOf)
		if !bytes.Equal(two.Encode(), encoded) {
			t.Fatalf("twice reduced:\n%s\n%s", encoded, two.Encode())
		}
		r := rand.New(rand.NewPCG(shuffle, 0))
		mix(r, read.Features)
		mix(r, read.Subscriptions)
		for _, sub := range read.Subscriptions {
			if sub.Items != nil {
				mix(r, sub.Items.Data)
			}
		}
		mixed := reduced(read, asOf)
		if !bytes.Equal(mixed.Encode(), encoded) {
			t.Fatalf("in another order:\n%s\n%s", encoded, mixed.Encode())
		}
		back, err := snapshot.Decode(encoded)
		if err != nil || !back.Equal(&one) {
			t.Fatalf("decoded: %v\n%s", err, encoded)
		}
		plans.NextLook(&one, asOf)
	})
}

// reduced is a reading as a syncer without a plans document writes it.
func reduced(read stripeapi.State, asOf time.Time) snapshot.Snapshot {
	s := Reduce(read, asOf)
	plans.Decide(&s, nil)
	return s
}

func mix[T any](r *rand.Rand, s []T) { r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }
