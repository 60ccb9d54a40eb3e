package servers

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTakeInventory reads what a server answered.
func TestTakeInventory(t *testing.T) {
	t.Parallel()
	var f Fleet
	for name, jsz := range map[string]string{
		"n1": `{"account_details":[{"name":"ENTITLED","stream_detail":[{"name":"S","cluster":{"leader":"n1","replicas":[
			{"name":"n2","current":true,"active":1},{"name":"n3","current":false,"active":1,"lag":3},
			{"name":"n4","current":true,"offline":true}]},
			"state":{"messages":7,"bytes":70,"first_seq":2,"last_seq":8,"consumer_count":0}}]}]}`,
		"n2": `{"account_details":[{"name":"ENTITLED","stream_detail":[{"name":"S","cluster":{"leader":"n1",
			"replicas":[{"name":"n1","current":true}]},
			"state":{"messages":0,"bytes":0,"first_seq":9,"last_seq":8}}]}]}`,
		"n3": `{"disabled":true}`,
	} {
		s := Server{Name: name}
		if err := json.Unmarshal([]byte(jsz), &s.JetStream); err != nil {
			t.Fatal(err)
		}
		f.Servers = append(f.Servers, s)
	}
	want := &Holding{Leader: "n1",
		On:      map[string]Extent{"n1": {Messages: 7, First: 2, Last: 8}, "n2": {First: 9, Last: 8}},
		Current: map[string]bool{"n2": true, "n3": false, "n4": false}}
	got := TakeInventory(f)
	if diff := cmp.Diff(want, got.Streams["S"]); diff != "" || got.Servers != 3 {
		t.Errorf("of %d servers (-want +got):\n%s", got.Servers, diff)
	}
}
