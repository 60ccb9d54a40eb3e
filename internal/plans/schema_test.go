package plans

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// bySchema is what the schema says about a text.
func bySchema(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(strings.TrimPrefix(text, "\ufeff")))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s.Validate(value)
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", value); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The schema and the parser take the same documents, but for what a schema cannot say.
func TestSchema(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	valid := []string{readFile(t, "../../examples/plans.yaml")}
	for _, tt := range canonical {
		valid = append(valid, tt.text)
	}
	valid = append(valid,
		"access: {past_due: 1d2h3m4s, unpaid: 9999999s}",
		"access: {past_due: grant, unpaid: deny, active: deny, trialing: deny, paused: grant, incomplete: grant}",
		"ids: {metadata: 'user id'}",
		"features: [A.b-c_9, access_x, limits, limit]",
		"plans: {a_1: {match: [{product: x, price: [y], lookup_key: ['*']}], features: [], limits: {}, adds: {}, access: {}}}",
		"default: {limits: {seats: {base: 3, per_unit: 0}}}",
	)
	for _, text := range valid {
		if got := mistakesOf(t, text); got != nil {
			t.Errorf("the parser refuses %s: %s", text, got)
		}
		if err := bySchema(t, s, text); err != nil {
			t.Errorf("the schema refuses %s: %v", text, err)
		}
	}
	for text, seen := range map[string]bool{
		"[]":                           true,
		"nonsense: 1":                  true,
		"number: -1":                   true,
		"number: 1.5":                  true,
		"number: 9007199254740992":     true,
		"number: x":                    true,
		"connect: 1":                   true,
		"stripe_entitlements: 'true'":  true,
		"metadata: price":              true,
		"metadata: [product]":          true,
		"metadata: [price, price]":     true,
		"ids: user_id":                 true,
		"ids: {}":                      true,
		"ids: {metadata: ''}":          true,
		"ids: {metadata: 'a[0]'}":      true,
		"ids: {metadata: entitled_id}": true,
		"ids: {metadata: 12345678901234567890123456789012345678901}": true,
		"ids: {metadata: a1234567890123456789012345678901234567890}": true,
		"unmatched: allow":                                     true,
		"access: {canceled: grant}":                            true,
		"access: {active: 3d}":                                 true,
		"access: {past_due: 3}":                                true,
		"access: {past_due: 3w}":                               true,
		"access: {past_due: ''}":                               true,
		"access: {past_due: 3h2d}":                             true,
		"access: {past_due: 0h}":                               false, // a schema cannot add up a duration
		"access: {past_due: 9999d}":                            false,
		"features: [a, a]":                                     true,
		"features: [access]":                                   true,
		"features: [plans]":                                    true,
		"features: [limit.x]":                                  true,
		"features: ['']":                                       true,
		"features: [a b]":                                      true,
		"features: [1]":                                        true,
		"limits: [Seats]":                                      true,
		"limits: [access]":                                     true,
		"limits: [a1234567890123456789012345]":                 true,
		"plans: []":                                            true,
		"plans: {plans: {}}":                                   true,
		"plans: {A: {}}":                                       true,
		"plans: {a: null}":                                     true,
		"plans: {a: {nonsense: 1}}":                            true,
		"plans: {a: {match: x}}":                               true,
		"plans: {a: {match: {}}}":                              true,
		"plans: {a: {match: []}}":                              true,
		"plans: {a: {match: {price: []}}}":                     true,
		"plans: {a: {match: {price: ''}}}":                     true,
		"plans: {a: {match: {price: 1}}}":                      true,
		"plans: {a: {match: {prize: x}}}":                      true,
		"plans: {a: {features: b}}":                            true,
		"plans: {a: {limits: [seats]}}":                        true,
		"plans: {a: {limits: {seats: -1}}}":                    true,
		"plans: {a: {limits: {seats: 1.5}}}":                   true,
		"plans: {a: {limits: {seats: many}}}":                  true,
		"plans: {a: {limits: {seats: {}}}}":                    true,
		"plans: {a: {limits: {seats: {base: -1}}}}":            true,
		"plans: {a: {limits: {seats: {per_unit: unlimited}}}}": true,
		"plans: {a: {limits: {Seats: 1}}}":                     true,
		"plans: {a: {adds: {seats: unlimited}}}":               true,
		"plans: {a: {access: {active: 3d}}}":                   true,
		"default: {adds: {}}":                                  true,
		"default: {limits: {seats: {per_unit: 1}}}":            true,
		"default: {features: [access]}":                        true,
		"features: [a]\nplans: {p: {features: [b]}}":           false, // a schema cannot look at another place
		"limits: [a]\nplans: {p: {adds: {b: 1}}}":              false,
		"features: [a]\ndefault: {features: [b]}":              false,
	} {
		if mistakesOf(t, text) == nil {
			t.Errorf("the parser takes %s", text)
		}
		if err := bySchema(t, s, text); (err != nil) != seen {
			t.Errorf("%s: the schema says %v", text, err)
		}
	}
}
