package view

import (
	"testing"
	"time"

	"entitled/entitlement/snapshot"
)

// An arrival is a bucket entry as a watch brings it; the value "" is a deletion.
type arrival struct {
	key, value string
	revision   uint64
}

func (v *View) apply(a arrival) error {
	if a.value == "" {
		return v.Take(a.key, a.revision, nil)
	}
	return v.Take(a.key, a.revision, []byte(a.value))
}

func value(customer, feature string) string {
	s := snapshot.Snapshot{
		Schema: snapshot.Schema, Customer: customer, Livemode: true, Status: "active",
		Access: true, Features: []string{feature},
	}
	return string(s.Encode())
}

// known returns what is known of a key, for tests of the view alone.
func (v *View) known(key string) *snapshot.Snapshot { return new(v.Snapshot(v.Entry(key))) }

// TestApply drives the view through what a watch may bring, in the order of its steps.
func TestApply(t *testing.T) {
	t.Parallel()
	v := View{Mode: snapshot.Live}
	v.StartLoad(false)
	step := func(name string, e arrival, want ...string) {
		t.Helper()
		v.apply(e)
		for _, feature := range []string{"a", "b", "c"} {
			expected := len(want) > 0 && want[0] == feature
			if got := v.known(e.key).Has(feature, time.Now()); got != expected {
				t.Errorf("%s: has %s: %v", name, feature, got)
			}
		}
		v.checkCounts(t, name)
	}
	step("first", arrival{key: "cus_1", value: value("cus_1", "a"), revision: 5}, "a")
	step("newer", arrival{key: "cus_1", value: value("cus_1", "b"), revision: 8}, "b")
	step("an older one, repeated", arrival{key: "cus_1", value: value("cus_1", "a"), revision: 5}, "b")
	step("an older deletion", arrival{key: "cus_1", revision: 7}, "b")
	step("the same", arrival{key: "cus_1", value: value("cus_1", "b"), revision: 8}, "b")
	step("unreadable", arrival{key: "cus_1", value: "garbage", revision: 9}, "b")
	step("unreadable, repeated", arrival{key: "cus_1", value: "garbage", revision: 9}, "b")
	step("deleted", arrival{key: "cus_1", revision: 10})
	step("unreadable after the deletion", arrival{key: "cus_1", value: "garbage", revision: 11})
	step("good again", arrival{key: "cus_1", value: value("cus_1", "c"), revision: 12}, "c")
	step("another", arrival{key: "cus_2", value: value("cus_2", "a"), revision: 13}, "a")

	v.StartLoad(true) // the bucket was created again: revisions start over
	step("a lower revision in the new bucket", arrival{key: "cus_1", value: value("cus_1", "a"), revision: 2}, "a")
	step("and older there", arrival{key: "cus_1", value: value("cus_1", "b"), revision: 1}, "a")
	if !v.known("cus_2").Has("a", time.Now()) {
		t.Error("cus_2 went before the load was complete")
	}
	// A snapshot of the old bucket does not replace an unreadable one of the new bucket.
	step("unreadable in the new bucket", arrival{key: "cus_2", value: "garbage", revision: 3})
	step("another", arrival{key: "cus_3", value: value("cus_3", "a"), revision: 4}, "a")

	v.StartLoad(false)
	step("met again", arrival{key: "cus_1", value: value("cus_1", "a"), revision: 2}, "a")
	v.RemoveUnseen()
	v.checkCounts(t, "swept")
	if v.known("cus_3").Customer != "" || !v.known("cus_1").Has("a", time.Now()) || v.Keys != 1 {
		t.Errorf("after the sweep %d keys", v.Keys)
	}
}

func (v *View) checkCounts(t *testing.T, name string) {
	t.Helper()
	var keys, snapshots, unreadable int
	for e := range v.byKey.all() {
		keys++
		if e.known {
			snapshots++
		}
		if e.unreadable != nil {
			unreadable++
		}
	}
	if v.Keys != keys || v.Snapshots.Load() != int64(snapshots) || v.Unreadable.Load() != int64(unreadable) {
		t.Errorf("%s: counts %d %d %d, want %d %d %d",
			name, v.Keys, v.Snapshots.Load(), v.Unreadable.Load(), keys, snapshots, unreadable)
	}
}
