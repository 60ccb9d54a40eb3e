package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement/snapshot"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		account  *account
		features bool
		want     State
		subs     int
		items    int
		paths    []string
	}{
		"one request": {
			account: &account{subs: []object{sub("sub_1"), sub("sub_2")}},
			want:    State{Metadata: map[string]string{"tier": "gold"}},
			subs:    2, items: 2,
			paths: []string{"subscriptions"},
		},
		"every page": {
			account: &account{subs: many(250, func(i int) object { return sub(fmt.Sprint("sub_", i)) })},
			want:    State{Metadata: map[string]string{"tier": "gold"}},
			subs:    250, items: 250,
			paths: []string{"subscriptions", "subscriptions", "subscriptions"},
		},
		"every item": {
			account: &account{
				subs: []object{
					sub("sub_1", object{"items": listOf(true,
						many(10, func(i int) object { return item("sub_1", i) })...)}),
					sub("sub_2"),
				},
				items: map[string][]object{"sub_1": many(120, func(i int) object { return item("sub_1", i) })},
			},
			want: State{Metadata: map[string]string{"tier": "gold"}},
			subs: 2, items: 121,
			paths: []string{"subscriptions", "subscription_items", "subscription_items"},
		},
		"customer not expanded": {
			account: &account{subs: []object{sub("sub_1", object{"customer": "cus_1"})}, customer: customer()},
			want:    State{Metadata: map[string]string{"tier": "gold"}},
			subs:    1, items: 1,
			paths: []string{"subscriptions", "customers/cus_1"},
		},
		"no subscriptions": {
			account: &account{customer: customer()},
			want:    State{Metadata: map[string]string{"tier": "gold"}},
			paths:   []string{"subscriptions", "customers/cus_1"},
		},
		"deleted": {
			account:  &account{customer: deletedCustomer()},
			features: true,
			want:     State{Deleted: true},
			paths:    []string{"subscriptions", "customers/cus_1"},
		},
		"deleted, with subscriptions left": {
			account:  &account{subs: []object{sub("sub_1"), sub("sub_2", object{"customer": deletedCustomer()})}},
			features: true,
			want:     State{Deleted: true},
			paths:    []string{"subscriptions"},
		},
		"unknown when asked for": {
			account: &account{},
			want:    State{Deleted: true},
			paths:   []string{"subscriptions", "customers/cus_1"},
		},
		"missing in the list, 400": {
			account: &account{before: missing("/v1/subscriptions", 400, "customer")},
			want:    State{Deleted: true},
			paths:   []string{"subscriptions", "customers/cus_1"},
		},
		"missing in the list, 404": {
			account: &account{before: missing("/v1/subscriptions", 404, ""), customer: deletedCustomer()},
			want:    State{Deleted: true},
			paths:   []string{"subscriptions", "customers/cus_1"},
		},
		"missing for its entitlements": {
			account: &account{subs: []object{sub("sub_1")},
				before: missing("/v1/entitlements/active_entitlements", 404, "customer")},
			features: true,
			want:     State{Deleted: true},
			paths:    []string{"subscriptions", "entitlements/active_entitlements", "customers/cus_1"},
		},
		"no features": {
			account:  &account{subs: []object{sub("sub_1")}},
			features: true,
			want:     State{Metadata: map[string]string{"tier": "gold"}, Features: []string{}},
			subs:     1, items: 1,
			paths: []string{"subscriptions", "entitlements/active_entitlements"},
		},
		"features": {
			account: &account{
				subs: []object{sub("sub_1")},
				entitlements: append(many(130, func(i int) object { return entitled(fmt.Sprintf("f%03d", 129-i)) }),
					object{"id": "ent_again", "livemode": false, "lookup_key": "f000"}),
			},
			features: true,
			want: State{Metadata: map[string]string{"tier": "gold"}, Features: func() (keys []string) {
				for i := range 130 {
					keys = append(keys, fmt.Sprintf("f%03d", i))
				}
				return keys
			}()},
			subs: 1, items: 1,
			paths: []string{"subscriptions", "entitlements/active_entitlements", "entitlements/active_entitlements"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.account.t = t
			var seen []Observation
			c := newClient(t, tc.account, func(cfg *Config) {
				cfg.Observe = func(_ context.Context, o Observation) { seen = append(seen, o) }
			}).Entitlements(tc.features)
			var p permits
			got, trace, err := c.Fetch(t.Context(), "acct_1", "cus_1", p.take)
			if err != nil {
				t.Fatal(err)
			}
			subs, items := got.Subscriptions, 0
			ids := map[string]bool{}
			for _, s := range subs {
				ids[s.ID] = true
				items += len(s.Items.Data)
				if s.Items.HasMore {
					t.Errorf("%s: items not resolved", s.ID)
				}
			}
			if len(subs) != tc.subs || len(ids) != tc.subs || items != tc.items {
				t.Errorf("%d subscriptions (%d different) with %d items, want %d with %d", len(subs), len(ids),
					items, tc.subs, tc.items)
			}
			tc.want.Account, tc.want.ID, tc.want.Mode = "acct_1", "cus_1", snapshot.Test
			got.Subscriptions = nil
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("state (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.paths, tc.account.paths()); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
			n := len(tc.paths)
			if p.n != n-1 || trace.Requests != n || len(trace.RequestIDs) != n || len(seen) != n ||
				trace.RequestIDs[n-1] != fmt.Sprint("req_", n) {
				t.Errorf("%d permits, trace %+v, %d observations for %d requests", p.n, trace, len(seen), n)
			}
			for _, r := range tc.account.requests {
				if r.Header.Get("Stripe-Account") != "acct_1" {
					t.Errorf("%s without Stripe-Account", r.URL)
				}
			}
		})
	}
}

// missing answers a path with resource_missing.
func missing(path string, status int, param string) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path == path {
			refuse(w, status, "resource_missing", param, "No such customer: 'cus_1'")
			return true
		}
		return false
	}
}

// An inconsistent answer is an error that says so, and never a state.
func TestFetchNotWhole(t *testing.T) {
	t.Parallel()
	hundred := many(100, func(i int) object { return sub(fmt.Sprint("sub_", i)) })
	body := func(pages ...object) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, n int) bool {
			answer(w, 200, pages[min(n, len(pages))-1])
			return true
		}
	}
	for name, tc := range map[string]struct {
		account  *account
		want     string
		status   int
		param    string
		features bool
	}{
		"foreign customer": {
			account: &account{subs: []object{sub("sub_1"),
				sub("sub_2", object{"customer": object{"id": "cus_2", "object": "customer"}})}},
			want: "belongs to customer cus_2", status: 200,
		},
		"other mode": {account: &account{subs: []object{sub("sub_1", object{"livemode": true})}},
			want: "not in mode test", status: 200},
		"customer of the other mode": {
			account: &account{customer: object{"id": "cus_1", "object": "customer", "livemode": true}},
			want:    "not in mode test", status: 200,
		},
		"other customer retrieved": {account: &account{customer: object{"id": "cus_2", "object": "customer"}},
			want: "got cus_2", status: 200},
		"null among the items": {account: &account{subs: []object{sub("sub_1",
			object{"items": listOf(false, nil)})}}, want: "null in a list", status: 200},
		"no items": {account: &account{subs: []object{sub("sub_1", object{"items": nil})}},
			want: "no list of items", status: 200},
		"null in the list": {account: &account{before: body(object{"object": "list", "has_more": false,
			"data": []any{nil}})}, want: "not a subscription", status: 200},
		"other object": {account: &account{subs: []object{{"id": "cus_1", "object": "customer"}}},
			want: "not a subscription", status: 200},
		"empty page with more": {account: &account{before: body(listOf(true))}, want: "empty page", status: 200},
		"empty second page with more": {
			account: &account{before: body(listOf(true, sub("sub_1")), listOf(true))}, want: "empty page", status: 200,
		},
		"same page again": {account: &account{before: body(listOf(true, hundred...))},
			want: "cursor does not advance", status: 200},
		"overlapping page": {account: &account{before: body(listOf(true, sub("sub_1"), sub("sub_2")),
			listOf(false, sub("sub_1")))}, want: "sub_1 is listed twice", status: 200},
		"cursor vanished": {
			account: &account{subs: append(hundred, sub("sub_100")),
				before: func(w http.ResponseWriter, r *http.Request, n int) bool {
					if n == 2 {
						refuse(w, 400, "resource_missing", "starting_after", "No such subscription: 'sub_99'")
					}
					return n == 2
				}},
			want: "resource_missing on starting_after", status: 400, param: "starting_after",
		},
		"subscription vanished": {
			account: &account{
				subs:   []object{sub("sub_1", object{"items": listOf(true, item("sub_1", 0))})},
				before: missing("/v1/subscription_items", 404, "subscription"),
			},
			want: "resource_missing on subscription", status: 404, param: "subscription",
		},
		"foreign item": {
			account: &account{
				subs:  []object{sub("sub_1", object{"items": listOf(true, item("sub_1", 0))})},
				items: map[string][]object{"sub_1": {item("sub_1", 0), item("sub_2", 1)}},
			},
			want: "belongs to subscription sub_2", status: 200,
		},
		"fewer items than shown": {
			account: &account{
				subs:  []object{sub("sub_1", object{"items": listOf(true, item("sub_1", 0), item("sub_1", 1))})},
				items: map[string][]object{"sub_1": {item("sub_1", 0)}},
			},
			want: "more items than are listed", status: 200,
		},
		"missing in the list, alive by itself": {
			account: &account{customer: customer(), before: missing("/v1/subscriptions", 404, "customer")},
			want:    "resource_missing on customer", status: 404, param: "customer",
		},
		"entitlement of the other mode": {
			account: &account{subs: []object{sub("sub_1")},
				entitlements: []object{{"id": "ent_1", "livemode": true, "lookup_key": "f"}}},
			features: true, want: "not in mode test", status: 200,
		},
		"entitlement without key": {
			account: &account{subs: []object{sub("sub_1")},
				entitlements: []object{{"id": "ent_1", "livemode": false}}},
			features: true, want: "no lookup key", status: 200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := tc.account
			a.t = t
			c := newClient(t, a, nil).Entitlements(tc.features)
			got, trace, err := c.Fetch(t.Context(), "", "cus_1", (&permits{}).take)
			e, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, ErrNotWhole) || e.NotJSON || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want ErrNotWhole with %q", err, tc.want)
			}
			if e.Status != tc.status || e.Param != tc.param || e.RequestID == "" {
				t.Errorf("error %+v", e)
			}
			if d := cmp.Diff(State{}, got); d != "" {
				t.Errorf("a state came with the error:\n%s", d)
			}
			if n := len(a.paths()); trace.Requests != n || n > 3 {
				t.Errorf("trace %+v of %d requests", trace, n)
			}
		})
	}
}

func TestFetchPlaceRefused(t *testing.T) {
	t.Parallel()
	a := &account{t: t, subs: many(250, func(i int) object { return sub(fmt.Sprint("sub_", i)) })}
	c := newClient(t, a, nil)
	no := errors.New("no permit")
	n := 0
	got, trace, err := c.Fetch(t.Context(), "", "cus_1", func(context.Context) error {
		if n++; n == 2 {
			return no
		}
		return nil
	})
	if _, ok := errors.AsType[*Error](err); ok || !errors.Is(err, no) || got.Subscriptions != nil {
		t.Errorf("error %v, want the permit's own", err)
	}
	if trace.Requests != 2 || len(a.paths()) != 2 {
		t.Errorf("trace %+v, %d requests, want 2", trace, len(a.paths()))
	}
}

func TestFetchWithoutID(t *testing.T) {
	t.Parallel()
	a := &account{t: t}
	if _, _, err := newClient(t, a, nil).Fetch(t.Context(), "", "", nil); err == nil || len(a.paths()) != 0 {
		t.Errorf("error %v after %d requests", err, len(a.paths()))
	}
}

func TestListSubscriptions(t *testing.T) {
	t.Parallel()
	cut := sub("sub_7", object{"items": listOf(true, item("sub_7", 0)),
		"customer": object{"id": "cus_7", "object": "customer"}})
	subs := many(150, func(i int) object { return sub(fmt.Sprint("sub_", i)) })
	subs[7] = cut
	a := &account{t: t, subs: subs, items: map[string][]object{"sub_7": many(12,
		func(i int) object { return item("sub_7", i) })}}
	c := newClient(t, a, nil)
	var p permits
	q := PageQuery{CreatedFrom: 100, CreatedBefore: 200}
	first, trace, err := c.ListSubscriptions(t.Context(), "", q, p.take)
	if err != nil || len(first.Subscriptions) != 100 || first.Next != "sub_99" || p.n != 1 || trace.Requests != 2 {
		t.Fatalf("first page: %d, next %q, %d permits, %+v: %v", len(first.Subscriptions), first.Next, p.n, trace, err)
	}
	if n := len(first.Subscriptions[7].Items.Data); n != 12 {
		t.Errorf("%d items, want 12", n)
	}
	if u := a.requests[0].URL.Query(); u.Get("created[gte]") != "100" || u.Get("created[lt]") != "200" ||
		u.Has("customer") {
		t.Errorf("asked for %v", u)
	}
	q.StartingAfter = first.Next
	second, _, err := c.ListSubscriptions(t.Context(), "", q, p.take)
	if err != nil || len(second.Subscriptions) != 50 || second.Next != "" {
		t.Errorf("second page: %d, next %q: %v", len(second.Subscriptions), second.Next, err)
	}
	q.StartingAfter = "sub_149"
	if none, _, err := c.ListSubscriptions(t.Context(), "", q, p.take); err != nil ||
		len(none.Subscriptions) != 0 || none.Next != "" {
		t.Errorf("past the end: %+v, %v", none, err)
	}
}

func TestListEventsKeepsBytes(t *testing.T) {
	t.Parallel()
	events := []string{
		"{\n  \"id\": \"evt_2\",\n  \"object\": \"event\",  \"created\": 1.50e2, \"x\": \"\\u00e9<>&\"}",
		`{"id":"evt_1","type":"v99.unheard.of","data":{}}`,
	}
	a := &account{t: t, before: func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/v1/events" || r.URL.Query().Get("limit") != "100" ||
			r.URL.Query().Get("created[gte]") != "5" ||
			r.URL.Query().Get("starting_after") != "evt_3" {
			t.Errorf("asked for %v", r.URL)
		}
		fmt.Fprintf(w, `{"object": "list", "has_more": true, "data": [%s]}`, strings.Join(events, " , "))
		return true
	}}
	pg, trace, err := newClient(t, a, nil).ListEvents(t.Context(), "",
		EventQuery{CreatedFrom: 5, StartingAfter: "evt_3"})
	if err != nil || pg.Next != "evt_1" || trace.Requests != 1 {
		t.Fatalf("next %q, %+v: %v", pg.Next, trace, err)
	}
	var got []string
	for _, e := range pg.Events {
		got = append(got, string(e))
	}
	if !slices.Equal(got, events) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(events, got))
	}
}
