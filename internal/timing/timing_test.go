package timing

import (
	"reflect"
	"testing"
	"time"
)

// Every time is set, and Divide leaves none out but OnTheWay.
func TestDivide(t *testing.T) {
	t.Parallel()
	whole, divided := reflect.ValueOf(Production), reflect.ValueOf(Production.Divide(20))
	for i := range whole.NumField() {
		name := whole.Type().Field(i).Name
		d, by := whole.Field(i).Int(), divided.Field(i).Int()
		if d == 0 || by*20 != d && by*fewest != d && name != "OnTheWay" {
			t.Errorf("%s is %s, and divided %s", name, time.Duration(d), time.Duration(by))
		}
	}
	if Production.Divide(1) != Production || Production.Divide(2).ReliefBeat != Production.ReliefBeat/2 {
		t.Error("divided by 1, or by 2, it is something else")
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	p := Production
	for failures := range 200 {
		full := p.LongestDelay
		if failures <= 10 {
			full = min(p.FirstDelay<<max(failures-1, 0), p.LongestDelay)
		}
		for range 20 {
			if d := p.Backoff(failures); d < full/2 || d > full {
				t.Fatalf("after failure %d it is %s, want between %s and %s", failures, d, full/2, full)
			}
		}
	}
}
