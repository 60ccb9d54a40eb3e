package entitlement_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	base := func() *entitlement.Snapshot {
		s := snapshot("cus_1", "api")
		s.Subscriptions = append(s.Subscriptions, entitlement.Subscription{
			ID: "sub_z", Status: "trialing", Items: []entitlement.Item{}, Metadata: map[string]string{},
		})
		return &s
	}
	end := int64(1700000000)
	for _, tt := range []struct {
		name   string
		change func(*entitlement.Snapshot)
		want   []entitlement.Difference
	}{
		{"nothing", func(*entitlement.Snapshot) {}, nil},
		{"dates and cause", func(s *entitlement.Snapshot) {
			s.AsOf, s.ChangedAt, s.Cause = time.Now(), time.Now(), entitlement.Cause{Trigger: "sweep"}
		}, nil},
		{"fields, sorted", func(s *entitlement.Snapshot) {
			s.Status, s.Access, s.AccessUntil, s.Features = "past_due", false, &end, []string{}
		}, []entitlement.Difference{
			{Path: "access", From: "true", To: "false"},
			{Path: "access_until", To: "1700000000"},
			{Path: "features", From: `["api"]`, To: "[]"},
			{Path: "status", From: `"active"`, To: `"past_due"`},
		}},
		{"inside a subscription", func(s *entitlement.Snapshot) {
			s.Subscriptions[1].Status = "active"
			s.Subscriptions[1].PaymentMethod = &entitlement.PaymentMethod{Type: "card", Last4: "4242"}
			s.Subscriptions[0].Items[0].Price = "price_2"
		}, []entitlement.Difference{
			{Path: "subscriptions.sub_cus_1.items.si_1.price", From: `"price_1"`, To: `"price_2"`},
			{Path: "subscriptions.sub_z.payment_method", To: `{"type":"card","last4":"4242"}`},
			{Path: "subscriptions.sub_z.status", From: `"trialing"`, To: `"active"`},
		}},
		{"an item came", func(s *entitlement.Snapshot) {
			s.Subscriptions[1].Items = []entitlement.Item{{ID: "si_9", Price: "p", Product: "q"}}
		}, []entitlement.Difference{
			{Path: "subscriptions.sub_z.items.si_9", To: `{"id":"si_9","price":"p","product":"q"}`},
		}},
		{"another order", func(s *entitlement.Snapshot) {
			s.Features = []string{}
			s.Subscriptions[0], s.Subscriptions[1] = s.Subscriptions[1], s.Subscriptions[0]
		}, nil}, // checked below: equal or not, Diff and Equal agree
	} {
		prev, next := base(), base()
		tt.change(next)
		got := entitlement.Diff(prev, next)
		if (len(got) == 0) != prev.Equal(next) {
			t.Errorf("%s: Equal is %v, but Diff is %v", tt.name, prev.Equal(next), got)
		}
		if d := cmp.Diff(tt.want, got); d != "" && tt.name != "another order" {
			t.Errorf("%s:\n%s", tt.name, d)
		}
	}
	s := base()
	gone := entitlement.Diff(s, &entitlement.Snapshot{})
	if d := cmp.Diff(gone, entitlement.Diff(s, nil)); d != "" || len(gone) == 0 || gone[0].To != "" {
		t.Errorf("to unknown: %v\n%s", gone, d)
	}
	if came := entitlement.Diff(nil, s); len(came) != len(gone) || came[0].From != "" {
		t.Errorf("from unknown: %v", came)
	}
	if d := entitlement.Diff(nil, nil); d != nil {
		t.Errorf("unknown to unknown: %v", d)
	}
}

// Every field counts except those that say when, why and under which document a state was read and
// decided, so a new field cannot be forgotten.
func TestEveryFieldCounts(t *testing.T) {
	t.Parallel()
	now := int64(1)
	full := func() *entitlement.Snapshot {
		s := snapshot("cus_1", "api")
		s.Subscriptions[0].PauseCollection = &entitlement.PauseCollection{Behavior: "void"}
		s.Subscriptions[0].PaymentMethod = &entitlement.PaymentMethod{Type: "card"}
		s.Subscriptions[0].Items[0].Quantity = &now
		s.Omitted = []string{entitlement.OmittedMetadata}
		s.Grants = []entitlement.Grant{{Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api"}}}
		s.Problems = []entitlement.Problem{{Source: "price_1"}}
		return &s
	}
	var visit func(at reflect.Value, name string, get func(*entitlement.Snapshot) reflect.Value)
	visit = func(at reflect.Value, name string, get func(*entitlement.Snapshot) reflect.Value) {
		for i := range at.NumField() {
			field := at.Type().Field(i)
			next := full()
			v := get(next).Field(i)
			sub := func(s *entitlement.Snapshot) reflect.Value {
				f := get(s).Field(i)
				if f.Kind() == reflect.Slice {
					f = f.Index(0)
				}
				return reflect.Indirect(f)
			}
			switch v.Interface().(type) {
			case time.Time, entitlement.Cause:
				continue
			case []entitlement.Subscription, []entitlement.Item, []entitlement.Grant,
				[]entitlement.Problem, *entitlement.PauseCollection, *entitlement.PaymentMethod:
				visit(sub(next), name+"."+field.Name, sub)
			}
			vary(t, v)
			counts := field.Name != "PlansRevision" && field.Name != "FactsRevision"
			if full().Equal(next) == counts || len(entitlement.Diff(full(), next)) > 0 != counts {
				t.Errorf("%s.%s counts: want %t", name, field.Name, counts)
			}
		}
	}
	visit(reflect.ValueOf(full()).Elem(), "Snapshot",
		func(s *entitlement.Snapshot) reflect.Value { return reflect.ValueOf(s).Elem() })
}

func vary(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		} else {
			v.SetZero()
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.Zero(v.Type().Elem()))
	default:
		t.Fatalf("a field of kind %s: extend this test to vary it", v.Kind())
	}
}
