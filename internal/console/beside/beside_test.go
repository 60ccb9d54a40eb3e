package beside_test

import (
	"strings"
	"testing"

	"entitled/internal/console/beside"
)

// Lines that both texts have stand beside each other; the others are on their side, in their order.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ a, b, want string }{
		{"a b c", "a b c", "=a =b =c"},
		{"a b c", "a x c", "=a b|x =c"},
		{"a c", "a b c", "=a |b =c"},
		{"a b c", "a c", "=a b| =c"},
		{"a b", "x y z", "a|x b|y |z"},
		{"a a b", "a b", "=a a| =b"},
	} {
		var got []string
		for _, l := range beside.Lines(strings.Fields(tt.a), strings.Fields(tt.b)) {
			if l.Same {
				got = append(got, "="+l.Left)
			} else {
				got = append(got, l.Left+"|"+l.Right)
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%q beside %q: %q, want %q", tt.a, tt.b, text, tt.want)
		}
	}
}
