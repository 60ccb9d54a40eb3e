package stripesim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

func TestPagingBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_many")
	var made []string
	for i := range 250 {
		if i%7 == 0 {
			b.Advance(time.Second) // several subscriptions share a second
		}
		made = append(made, must(b.Silent().CreateSubscription(stripesim.SubscriptionParams{
			Customer: c, Items: []stripesim.ItemParams{{Price: "price_free"}},
		})))
	}
	slices.Reverse(made)
	for _, customer := range []string{c, ""} {
		p := listOf(customer, "all")
		p.Limit = stripe.Int64(100)
		got := ids(must(b.list(p)))
		if !slices.Equal(got, made) {
			t.Fatalf("starting_after from the newest: %d ids, want %d in order", len(got), len(made))
		}
		p = listOf(customer, "all")
		p.Limit = stripe.Int64(100)
		p.EndingBefore = stripe.String(made[len(made)-1])
		back := ids(must(b.list(p))) // stripe-go walks back: oldest first
		slices.Reverse(back)
		if !slices.Equal(back, made[:len(made)-1]) {
			t.Fatalf("ending_before the oldest: %d ids, want %d in order", len(back), len(made)-1)
		}
	}
	// A page before a cursor is newest first too, and next to the cursor.
	_, body, _ := b.get("/v1/subscriptions?limit=3&ending_before=" + made[10])
	var page struct {
		Data    []struct{ ID string }
		HasMore bool `json:"has_more"`
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Data) != 3 || page.Data[0].ID != made[7] || page.Data[2].ID != made[9] || !page.HasMore {
		t.Fatalf("page before %s: %v", made[10], page)
	}
	if n := strings.Count(second(b.get("/v1/subscriptions")), `"object":"subscription",`); n != 10 {
		t.Fatalf("default page has %d, want 10", n)
	}
}

func TestShortListsPageBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	b.subscribe(c, "price_team")
	var all struct {
		Data []struct {
			ID      string
			Feature any
		}
	}
	const path = "/v1/entitlements/active_entitlements?customer=cus_a"
	must(0, json.Unmarshal([]byte(second(b.get(path+"&expand[]=data.feature"))), &all))
	if f, ok := all.Data[0].Feature.(map[string]any); !ok || f["object"] != "entitlements.feature" {
		t.Errorf("feature %v", all.Data[0].Feature)
	}
	for query, want := range map[string]string{
		"&limit=1": `"has_more":true`,
		"&limit=1&ending_before=" + all.Data[2].ID:  all.Data[1].ID,
		"&limit=1&starting_after=" + all.Data[1].ID: all.Data[2].ID,
		"&starting_after=ent_x":                     "No such active entitlement: 'ent_x'",
		"&starting_after=ent_x&ending_before=ent_y": "only specify one",
		"&limit=3&ending_before=" + all.Data[0].ID:  `"data":[]`,
		"&limit=3":                  `"has_more":false`,
		"&expand[]=data.lookup_key": "cannot be expanded (data.lookup_key)",
		"&limit=2&starting_after=" + all.Data[0].ID:  `"has_more":false`,
		"&limit=100&ending_before=" + all.Data[2].ID: all.Data[0].ID,
	} {
		if _, body, _ := b.get(path + query); !strings.Contains(body, want) {
			t.Errorf("%s: %s lacks %s", query, body, want)
		}
	}
}

func TestItemsBeyondTheInlineCap(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	var items []stripesim.ItemParams
	for i := range 14 {
		id := must(b.CreatePrice(stripesim.PriceParams{
			ID: fmt.Sprintf("price_%d", i), Product: "prod_pro", UnitAmount: 100,
		}))
		items = append(items, stripesim.ItemParams{Price: id})
	}
	sub := must(b.CreateSubscription(stripesim.SubscriptionParams{Customer: c, Items: items}))
	s := must(b.list(listOf(c, "all")))[0]
	if len(s.Items.Data) != 10 || !s.Items.HasMore {
		t.Fatalf("inline: %d items, more %v", len(s.Items.Data), s.Items.HasMore)
	}
	seen := map[string]bool{}
	it := b.api.SubscriptionItems.List(&stripe.SubscriptionItemListParams{
		Subscription: stripe.String(sub), ListParams: stripe.ListParams{Limit: stripe.Int64(6)},
	})
	for it.Next() {
		seen[it.SubscriptionItem().Price.ID] = true
	}
	if it.Err() != nil || len(seen) != 14 {
		t.Fatalf("paged: %d items, %v", len(seen), it.Err())
	}
	truth, _ := b.Truth(c)
	var list stripe.SubscriptionList
	if err := json.Unmarshal(truth.SubscriptionsJSON, &list); err != nil || len(list.Data[0].Items.Data) != 14 {
		t.Fatalf("truth lacks items: %v", err)
	}
}

func TestCreatedRange(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	var made []string
	for range 5 {
		made = append(made, b.subscribe(c, "price_free"))
		b.Advance(10 * time.Second)
	}
	at := func(i int) int64 { return start.Unix() + int64(i)*10 }
	p := listOf("", "")
	p.CreatedRange = &stripe.RangeQueryParams{GreaterThan: at(1), LesserThanOrEqual: at(3)}
	if got := ids(must(b.list(p))); !slices.Equal(got, []string{made[3], made[2]}) {
		t.Errorf("gt and lte: %v", got)
	}
	p.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: at(1), LesserThan: at(3)}
	if got := ids(must(b.list(p))); !slices.Equal(got, []string{made[2], made[1]}) {
		t.Errorf("gte and lt: %v", got)
	}
}
