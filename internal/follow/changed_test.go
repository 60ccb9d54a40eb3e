package follow

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

func TestJSONLine(t *testing.T) {
	t.Parallel()
	after := entitlement.Snapshot{Schema: 1, Customer: "cus_Amelia", Status: "active"}
	c := Change{Key: "cus_Amelia", Revision: 7, After: after}
	line := c.Encode()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	want := map[string]json.RawMessage{"key": []byte(`"cus_Amelia"`), "revision": []byte("7"),
		"snapshot": c.After.Encode()}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
		t.Errorf("not one line: %q", line)
	}
	if gone := string(Change{Key: "cus_1"}.Encode()); gone != `{"key":"cus_1","revision":0,"snapshot":null}`+"\n" {
		t.Errorf("a customer that is not in the bucket: %s", gone)
	}
}
