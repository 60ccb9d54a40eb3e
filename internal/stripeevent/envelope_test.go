package stripeevent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	aCustomer  = "cus_QXg1o8vcGmoR32"
	anAccount  = "acct_1PgafTB7WZ01zgkW"
	itsCreated = 1721948530
)

func TestParseStripesShapes(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Envelope{
		"customer.subscription.updated":                   {ID: "SubUpd01", Customer: aCustomer, Livemode: true},
		"invoice.paid":                                    {ID: "InvPaid1", Customer: aCustomer, Livemode: true},
		"checkout.session.completed":                      {ID: "Checkout", Customer: aCustomer, Account: anAccount},
		"customer.updated":                                {ID: "CusUpd01", Customer: aCustomer},
		"customer.deleted":                                {ID: "CusDel01", Customer: aCustomer},
		"payment_method.detached":                         {ID: "PmDet001", Customer: aCustomer},
		"payment_intent.succeeded":                        {ID: "PiSuc001"},
		"customer.tax_id.created":                         {ID: "TaxId001", Customer: aCustomer},
		"entitlements.active_entitlement_summary.updated": {ID: "EntUpd01", Customer: aCustomer},
		"charge.dispute.created":                          {ID: "Dispute1"},
		"product.updated":                                 {ID: "Product1"},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			want.ID, want.Type, want.Created = "evt_1PgafmB7WZ01zgkW"+want.ID, file, itsCreated
			got, err := Parse(fixture(t, file))
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v; -want +got:\n%s", err, diff)
			}
		})
	}
	got, err := Parse(fixture(t, "v1.customer.updated.thin"))
	want := Envelope{
		ID: "evt_65RCjbF6gEhhrNnDzXe16RCjQ0SQGkFUd2kBYGSe1Vk9", Type: "v1.customer.updated",
		Account: anAccount, Customer: aCustomer, Created: 1726554052,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("thin event: error %v; -want +got:\n%s", err, diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	base := Envelope{ID: "evt_1", Type: "a.b"}
	with := func(f func(*Envelope)) Envelope {
		e := base
		f(&e)
		return e
	}
	cus := with(func(e *Envelope) { e.Customer = "cus_1" })
	odd := func(o Oddity) Envelope { return with(func(e *Envelope) { e.Odd = o }) }
	long := strings.Repeat("x", maxID+1)
	for name, tc := range map[string]struct {
		body string // the members behind id, type and livemode
		want Envelope
	}{
		"nothing else":             {``, base},
		"customer id":              {`,"data":{"object":{"customer":"cus_1"}}`, cus},
		"expanded customer":        {`,"data":{"object":{"customer":{"object":"customer","id":"cus_1"}}}`, cus},
		"the customer itself":      {`,"data":{"object":{"object":"customer","id":"cus_1"}}`, cus},
		"its id before its object": {`,"data":{"object":{"id":"cus_1","object":"customer"}}`, cus},
		"escaped":                  {`,"data":{"object":{"\u0069d":"cus\u005f1","object":"\u0063ustomer"}}`, cus},
		"another object's id":      {`,"data":{"object":{"id":"sub_1","object":"subscription"}}`, base},
		"customer null":            {`,"data":{"object":{"customer":null}}`, base},
		"customer empty":           {`,"data":{"object":{"customer":""}}`, base},
		"previous customer": {`,"data":{"previous_attributes":{"customer":"cus_1"},"object":{"customer":null}}`,
			cus},
		"present before previous": {`,"data":{"previous_attributes":{"customer":"cus_0"},"object":{"customer":"cus_1"}}`, cus},
		"owner's customer":        {`,"data":{"object":{"customer":null,"owner":{"customer":{"id":"cus_1"}}}}`, cus},
		"last key wins": {`,"data":{"object":{"customer":"cus_0"}},"data":{"object":{"customer":"cus_1"}}`,
			cus},
		"last key wins wholly":      {`,"data":{"object":{"customer":"cus_0"}},"data":{"object":{}}`, base},
		"last key wins, not object": {`,"data":{"object":{"customer":"cus_0"}},"data":null`, base},
		"exact case":                {`,"data":{"object":{"Customer":"cus_0"}}`, base},
		"deeper customers":          {`,"data":{"object":{"lines":{"customer":"cus_0"}}},"request":{"id":"x","account":"y"}`, base},
		"related customer":          {`,"related_object":{"type":"customer","id":"cus_1"}`, cus},
		"related other":             {`,"related_object":{"type":"subscription","id":"sub_1"}`, base},
		"data before related":       {`,"data":{"object":{}},"related_object":{"type":"customer","id":"cus_0"}`, base},
		"customer_account": {`,"data":{"object":{"customer":null,"customer_account":"acct_2"}}`,
			with(func(e *Envelope) { e.CustomerAccount = true })},
		"customer and account": {`,"data":{"object":{"customer":"cus_1","customer_account":"acct_2"}}`, cus},
		"account null":         {`,"account":null,"data":{"object":{"customer":"cus_1"}}`, cus},
		"account": {`,"account":"acct_1","data":{"object":{"customer":"cus_1"}}`,
			with(func(e *Envelope) { e.Customer, e.Account = "cus_1", "acct_1" })},
		"context of a snapshot event": {`,"context":"acct_1","data":{"object":{"customer":"cus_1"}}`, cus},
		"created":                     {`,"created":1721948530`, with(func(e *Envelope) { e.Created = 1721948530 })},
		"created null":                {`,"created":null`, base},
		"livemode":                    {`,"livemode":true`, with(func(e *Envelope) { e.Livemode = true })},

		"odd customer":        {`,"data":{"object":{"customer":5}}`, odd(OddCustomer)},
		"odd customer object": {`,"data":{"object":{"customer":{"id":7}}}`, odd(OddCustomer)},
		"odd customer hides none": {`,"data":{"object":{"customer":[]},"previous_attributes":{"customer":"cus_0"}}`,
			odd(OddCustomer)},
		"odd id of customer": {`,"data":{"object":{"object":"customer","id":1}}`, odd(OddCustomer)},
		"odd related id":     {`,"related_object":{"type":"customer"}`, odd(OddCustomer)},
		"odd account":        {`,"account":1,"data":{"object":{"customer":"cus_0"}}`, odd(OddAccount)},
		"odd context": {`,"context":"org_1/acct_1","related_object":{"type":"customer","id":"cus_0"}`,
			odd(OddAccount)},
		"odd livemode": {`,"livemode":"true","data":{"object":{"customer":"cus_0"}}`, odd(OddLivemode)},
		"livemode null": {`,"livemode":null,"data":{"object":{"customer":"cus_1"}}`,
			with(func(e *Envelope) { e.Customer, e.Odd = "cus_1", OddLivemode })},
		"odd created": {`,"created":1.5,"data":{"object":{"customer":"cus_1"}}`,
			with(func(e *Envelope) { e.Customer, e.Odd = "cus_1", OddCreated })},
		"odd created text":    {`,"created":"yesterday"`, odd(OddCreated)},
		"odd data":            {`,"data":[]`, odd(OddData)},
		"odd object":          {`,"data":{"object":"cus_0"}`, odd(OddData)},
		"odd related":         {`,"related_object":"cus_0"`, odd(OddData)},
		"overlong customer":   {`,"data":{"object":{"customer":"` + long + `"}}`, odd(OddLong)},
		"overlong account":    {`,"account":"` + long + `","data":{"object":{"customer":"cus_0"}}`, odd(OddLong)},
		"two oddities, first": {`,"livemode":1,"data":{"object":{"customer":5}}`, odd(OddLivemode)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{
				`{"id":"evt_1","type":"a.b","livemode":false` + tc.body + `}`,
				" \t\r\n{ \"id\" : \"evt_1\" ,\n\t\"type\":\"a.b\",          \"livemode\":false" + tc.body + " } \n",
			} {
				got, err := Parse([]byte(body))
				if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
					t.Errorf("%s\nerror %v; -want +got:\n%s", body, err, diff)
				}
			}
		})
	}
}

func TestParseShortensLongNames(t *testing.T) {
	t.Parallel()
	parse := func(id string) Envelope {
		t.Helper()
		e, err := Parse([]byte(`{"id":"` + id + `","type":"` + id + `","livemode":true}`))
		if err != nil || e.Odd != OddLong || len(e.ID) != maxID || len(e.Type) != maxID {
			t.Fatalf("got %+v, %v", e, err)
		}
		return e
	}
	a, b := strings.Repeat("x", 5000)+"a", strings.Repeat("x", 5000)+"b"
	if first, again := parse(a), parse(a); first != again || first.ID == parse(b).ID {
		t.Error("the same id must stay the same, another stay another")
	}
}

func TestParseNotAnEvent(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, ` `, `null`, `[]`, `"evt_1"`, `5`, `{}`, `{"id":"evt_1"}`, `{"type":"a"}`, `{"id":1,"type":"a"}`,
		`{"id":"evt_1","type":null}`, `{"id":"","type":"a"}`, `{"id":"evt_1","type":""}`,
		`{"id":"evt_1","type":"a"`, `{"id":"evt_1","type":"a"} x`, `{"id":"evt_1","type":"a",}`,
		"\xef\xbb\xbf" + `{"id":"evt_1","type":"a"}`, `{"id":"evt_1","type":"a","id":5}`,
		`{"id":"evt_1","type":"a","x":01}`,
		`{"id":"evt_1","type":"a","x":"` + "\n" + `"}`, `[{"id":"evt_1","type":"a"}]`, `id=evt_1&type=a`,
	} {
		if e, err := Parse([]byte(body)); !errors.Is(err, ErrNotEvent) || e != (Envelope{}) {
			t.Errorf("%q: got %+v, %v", body, e, err)
		}
	}
}

func TestScanNesting(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{maxDepth - 1, maxDepth, maxDepth + 1} {
		for _, doc := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"data":`, depth) + "1" + strings.Repeat("}", depth),
			`{"data":{"object":` + strings.Repeat(`[`, depth-2) + strings.Repeat("]", depth-2) + `}}`,
		} {
			s := scanner{doc: []byte(doc)}
			if got, want := s.scan(), json.Valid([]byte(doc)); got != want {
				t.Errorf("depth %d: valid %v, encoding/json says %v", depth, got, want)
			}
		}
	}
}

// Not parallel: testing.AllocsPerRun counts the allocations of the whole process.
func TestParseAllocations(t *testing.T) {
	body := fixture(t, "customer.subscription.updated")
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(body) }); n > 3 {
		t.Errorf("%v allocations, want the three strings", n)
	}
}

// oracle is a second implementation of Parse, by encoding/json.
func oracle(body []byte) (Envelope, bool) {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		// Unmarshal also refuses numbers that are JSON but no float64.
		dec := json.NewDecoder(strings.NewReader(string(body)))
		dec.UseNumber()
		if !json.Valid(body) || dec.Decode(&doc) != nil {
			return Envelope{}, false
		}
	}
	top, _ := doc.(map[string]any)
	get := func(path ...string) any {
		v := any(top)
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return v
	}
	str := func(path ...string) string { s, _ := get(path...).(string); return s }
	var e Envelope
	if e.ID, e.Type = str("id"), str("type"); e.ID == "" || e.Type == "" {
		return Envelope{}, false
	}
	doubt := false
	live, isBool := get("livemode").(bool)
	e.Livemode = live
	doubt = !isBool && get("livemode") != nil
	acct := "account"
	if get("account") == nil && get("data", "object") == nil {
		acct = "context"
	}
	if get(acct) != nil {
		e.Account = str(acct)
		if len(e.Account) > maxID || e.Account == "" ||
			acct == "context" && (!strings.HasPrefix(e.Account, "acct_") || strings.Contains(e.Account, "/")) {
			doubt, e.Account = true, ""
		}
	}
	switch {
	case str("data", "object", "object") == "customer":
		e.Customer = str("data", "object", "id")
		doubt = doubt || e.Customer == ""
	case get("data", "object") == nil && str("related_object", "type") == "customer":
		e.Customer = str("related_object", "id")
		doubt = doubt || e.Customer == ""
	default:
		for _, p := range [][]string{
			{"data", "object", "customer"},
			{"data", "previous_attributes", "customer"},
			{"data", "object", "owner", "customer"},
		} {
			switch v := get(p...).(type) {
			case nil:
				continue
			case string:
				e.Customer = v
			default:
				e.Customer = str(append(p, "id")...)
				doubt = doubt || e.Customer == ""
			}
			if e.Customer != "" || doubt {
				break
			}
		}
	}
	if doubt || len(e.Customer) > maxID {
		e.Customer = ""
		doubt = true
	}
	e.CustomerAccount = e.Customer == "" && !doubt && str("data", "object", "customer_account") != ""
	return e, true
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, s := range []string{
		`{"id":"e\ud83c\udf89\ud800\u0000","type":"` + "\xff\xed\xa0\x80" +
			`a","livemode":true,"data":{"object":{"customer":{"id":"c"}}}}`,
		`{"id":"e","type":"t","id":"f","data":{"object":{"customer":"a"}},"d\u0061ta":{"object":{"owner":{"customer":"b"}}}}`,
		`{"id":"e","type":"t","data":1,"created":-1e+9,"x":[1.5E-3,{},[],[[]],true,false,null,"\/\b\f\n\r\t\"\\"]}`,
		`{"id":"e","type":"t","x":1e999}`,
		`{"id":"e","type":"t","context":"acct_1","related_object":{"id":"c","type":"customer"}}`, `[1,2`, `nul`,
		`-`, `{"a":"\u12`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := scanner{doc: body}
		if got, want := s.scan(), json.Valid(body); got != want {
			t.Fatalf("valid %v, encoding/json says %v", got, want)
		}
		want, isEvent := oracle(body)
		got, err := Parse(body)
		if (err == nil) != isEvent || err != nil && !errors.Is(err, ErrNotEvent) {
			t.Fatalf("event %v, Parse says %v", isEvent, err)
		}
		if !isEvent {
			return
		}
		if len(want.ID) > maxID {
			want.ID = got.ID
		}
		if len(want.Type) > maxID {
			want.Type = got.Type
		}
		want.Created, want.Odd = got.Created, got.Odd // the oracle does not have them
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, file := range []string{"customer.subscription.updated", "customer.deleted"} {
		body := fixture(b, file)
		b.Run(file, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// The yardstick: the same fields by a small struct.
	body := fixture(b, "customer.subscription.updated")
	b.Run("encoding_json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var e struct {
				ID, Type, Account string
				Created           int64
				Livemode          bool
				Data              struct {
					Object struct {
						ID, Object string
						Customer   json.RawMessage
					}
				}
			}
			if err := json.Unmarshal(body, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	return body
}
