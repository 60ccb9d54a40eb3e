package protocol

import (
	"fmt"
	"testing"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeevent"
)

// An id is forgotten after a minute, and before that if there are too many.
func TestStrangersAreFew(t *testing.T) {
	t.Parallel()
	var all Strangers
	id := func(i int) stripeevent.Customer {
		return stripeevent.Customer{Mode: snapshot.Test, ID: fmt.Sprintf("cus_%d", i)}
	}
	now := time.Now()
	for i := range 3 * mostStrangers {
		all.Add(id(i), now)
		all.Add(id(i), now)
	}
	if len(all.until) != mostStrangers || len(all.oldest) != mostStrangers {
		t.Errorf("%d and %d are remembered, want %d", len(all.until), len(all.oldest), mostStrangers)
	}
	last := id(3*mostStrangers - 1)
	if all.Has(id(0), now) || !all.Has(last, now) || !all.Has(last, now.Add(strangersFor-1)) ||
		all.Has(last, now.Add(strangersFor)) {
		t.Error("remembered are not the newest, for a minute")
	}
	all.Add(id(0), now.Add(strangersFor))
	if len(all.until) != 1 || len(all.oldest) != 1 {
		t.Errorf("%d and %d are remembered, want one", len(all.until), len(all.oldest))
	}
}
