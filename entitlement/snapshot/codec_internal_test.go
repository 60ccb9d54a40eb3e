package snapshot

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

var strange = []string{"", "a", "sub_1", "é", `"`, `\`, "<&>", "\n\x00\x7f", "\u2028", "a\xff", "ab\u2029"}

// drawn fills a value at random, every field of every type in it.
func drawn(r *rand.Rand, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		at := time.Unix(r.Int64N(4e9), r.Int64N(2)*r.Int64N(1e9)).In(time.FixedZone("", 3600*(r.IntN(3)-1)))
		if r.IntN(2) == 0 {
			at = at.UTC()
		}
		v.Set(reflect.ValueOf(at))
		return
	case Limit:
		v.SetInt([]int64{0, 1, r.Int64N(int64(MaxLimit)), int64(MaxLimit), int64(Unlimited)}[r.IntN(5)])
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			drawn(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			drawn(r, v.Elem())
		}
	case reflect.Slice:
		if r.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		}
		for i := range v.Len() {
			drawn(r, v.Index(i))
		}
	case reflect.Map:
		if r.IntN(4) > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range r.IntN(4) {
				key, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				drawn(r, key)
				drawn(r, e)
				v.SetMapIndex(key, e)
			}
		}
	case reflect.String:
		v.SetString(strange[r.IntN(len(strange))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint64:
		v.SetUint([]uint64{0, 7, math.MaxInt64, math.MaxUint64, r.Uint64()}[r.IntN(5)])
	default:
		v.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, r.Int64()}[r.IntN(6)])
	}
}

// encodedByReflection is what encoding/json makes of a snapshot.
func encodedByReflection(t *testing.T, s *Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func TestEncodesAsEncodingJSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		var s Snapshot
		drawn(rand.New(rand.NewPCG(seed, 0)), reflect.ValueOf(&s).Elem())
		want := encodedByReflection(t, &s)
		if got := s.Encode(); !bytes.Equal(got, want) {
			t.Fatalf("seed %d:\n got %s\nwant %s", seed, got, want)
		}
		readAsEncodingJSON(t, want)
	}
}

// readAsEncodingJSON checks that whatever is read without encoding/json is read as by it.
func readAsEncodingJSON(t *testing.T, data []byte) (own bool) {
	t.Helper()
	got, own := decodeOwn(string(data))
	if !own {
		return false
	}
	var want Snapshot
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("%s is read, but: %v", data, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is read as\n%+v, want\n%+v", data, got, want)
	}
	return true
}

// A difference splits what a codec wrote as encoding/json does.
func TestSplitsAsEncodingJSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		var s Snapshot
		drawn(rand.New(rand.NewPCG(seed, 2)), reflect.ValueOf(&s).Elem())
		var want map[string]json.RawMessage
		if err := json.Unmarshal(s.Encode(), &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for _, f := range fields(s.Encode()) {
			got[f.name] = f.value
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: fields\n%s, want\n%s", seed, got, want)
		}
		for _, name := range []string{"subscriptions", "grants"} {
			var all []json.RawMessage
			if len(want[name]) > 0 {
				if err := json.Unmarshal(want[name], &all); err != nil {
					t.Fatal(err)
				}
			}
			byID := map[string]json.RawMessage{}
			for _, e := range all {
				var head struct{ ID, Source string }
				if err := json.Unmarshal(e, &head); err != nil {
					t.Fatal(err)
				}
				byID[head.ID+head.Source] = e
			}
			if got := elements(want[name]); !reflect.DeepEqual(got, byID) {
				t.Fatalf("seed %d: %s\n%s, want\n%s", seed, name, got, byID)
			}
		}
	}
}

// Snapshots without anything unusual are read without encoding/json.
func TestReadsItsOwn(t *testing.T) {
	t.Parallel()
	n, until := int64(12), int64(1_700_000_000)
	at := time.Unix(1_700_000_000, 123456789).UTC()
	s := Snapshot{
		Schema: Schema, Customer: "cus_1", Account: "acct_1", ID: "u é", Livemode: true, Status: "active", Access: true,
		AccessUntil: &until, Features: []string{"a", "b"}, Limits: map[string]Limit{"seats": 3, "all": Unlimited},
		Grants: []Grant{{Source: "sub_1", Plans: []string{"pro"}, Features: []string{"a"},
			Limits: map[string]Limit{"seats": 3}, Adds: map[string]Limit{}, Until: &until, Note: "by hand"}},
		Entitlements: []string{}, Metadata: map[string]string{"k": "v", "l": ""},
		Subscriptions: []Subscription{{ID: "sub_1", Status: "active", Access: true,
			Items: []Item{{ID: "si_1", Price: "p", Product: "q", Quantity: &n,
				Metadata: map[string]string{"entitled_plan": "x"}}},
			CurrentPeriodEnd: -1, CancelAt: &until, PauseCollection: &PauseCollection{Behavior: "void", ResumesAt: &until},
			PaymentMethod: &PaymentMethod{Type: "card", Last4: "4242"}, Metadata: map[string]string{}}},
		Omitted: []string{OmittedEnded}, NextBoundary: &until,
		Problems:      []Problem{{Source: "sub_1", Word: "w", Kind: ProblemBadName}},
		PlansRevision: 3, FactsRevision: 77, AsOf: at, ChangedAt: at, Cause: Cause{Trigger: "webhook", Event: "evt_1"},
	}
	data := s.Encode()
	if !readAsEncodingJSON(t, data) {
		t.Errorf("read by encoding/json: %s", data)
	}
	for cut := range data {
		if _, own := decodeOwn(string(data[:cut])); own {
			t.Errorf("a part is read: %s", data[:cut])
		}
	}
}

func FuzzReadsAsEncodingJSON(f *testing.F) {
	for seed := range uint64(20) {
		var s Snapshot
		drawn(rand.New(rand.NewPCG(seed, 1)), reflect.ValueOf(&s).Elem())
		f.Add(s.Encode())
	}
	own := `{"schema":1,"customer":"c","livemode":false,"status":"none","access":false,"features":[],"metadata":{},` +
		`"subscriptions":[],"as_of":"2026-01-01T00:00:00Z","changed_at":"2026-01-01T00:00:00Z","cause":{"trigger":""}}`
	f.Add([]byte(own))
	for _, mutation := range [][2]string{
		{`[]`, `[,]`}, {`[]`, `["a",]`}, {`{}`, `{"a":"b","a":"c"}`}, {`:1,`, `:01,`}, {`:1,`, `:-0,`}, {`:1,`, `:1.0,`},
		{`:1,`, `:1e3,`}, {`:1,`, `:9223372036854775808,`}, {`"c"`, `null`}, {`false`, `null`}, {`}}`, `}} `}, {`}}`, `}}}`},
		{`"none"`, `"none","Status":"a"`}, {`"none"`, `"none","status":"a"`}, {`,"status"`, `, "status"`},
		{`Z"`, `z"`}, {`Z"`, `+24:00"`}, {`"features":[]`, `"features":[],"limits":{"a":9007199254740992}`},
	} {
		f.Add([]byte(strings.Replace(own, mutation[0], mutation[1], 1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) { readAsEncodingJSON(t, data) })
}

func BenchmarkCodec(b *testing.B) {
	at := time.Unix(1_700_000_000, 0).UTC()
	s := Snapshot{Schema: Schema, Customer: "cus_00000000000001", Livemode: true, Status: "active", Access: true,
		Features: []string{"analytics", "sso"}, Limits: map[string]Limit{}, Grants: []Grant{{Source: "sub_00000000000001",
			Plans: []string{"pro"}, Features: []string{"analytics", "sso"}, Limits: map[string]Limit{},
			Adds: map[string]Limit{}}},
		Metadata: map[string]string{}, Subscriptions: []Subscription{{ID: "sub_00000000000001", Status: "active",
			Items:    []Item{{ID: "si_00000000000001", Price: "price_1PgafmB7WZ01zgkW", Product: "prod_QXg1hqf4jFNsqG"}},
			Metadata: map[string]string{}}}, AsOf: at, ChangedAt: at, Cause: Cause{Trigger: "webhook"}}
	data := s.Encode()
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			s.Encode()
		}
	})
	b.Run("encode by reflection", func(b *testing.B) {
		for b.Loop() {
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			_ = e.Encode(&s)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, _ = Decode(data)
		}
	})
	b.Run("decode by reflection", func(b *testing.B) {
		for b.Loop() {
			var s Snapshot
			_ = json.Unmarshal(data, &s)
		}
	})
}
