package snapshot

import (
	"regexp"
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	for _, c := range []struct {
		ref, name string
		isID      bool
	}{
		{"cus_1", "cus_1", false},
		{"cus_", "cus_", false},
		{"acct_1A.cus_1", "acct_1A.cus_1", false},
		{"acct_.cus_1", "acct_.cus_1", true},
		{"acct_a_b.cus_1", "acct_a_b.cus_1", true},
		{"acct_1.sub_1", "acct_1.sub_1", true},
		{"acct_1", "acct_1", true},
		{"user-7", "user-7", true},
		{"CUS_1", "CUS_1", true},
		{"", "", true},
		{"id:cus_1", "cus_1", true},
		{"key:user-7", "user-7", false},
		{"id:key:a", "key:a", true},
		{"id:", "", true},
	} {
		if name, isID := ParseRef(c.ref); name != c.name || isID != c.isID {
			t.Errorf("ParseRef(%q) = %q, %v; want %q, %v", c.ref, name, isID, c.name, c.isID)
		}
	}
	if n := testing.AllocsPerRun(100, func() { ParseRef("acct_1A.cus_1") }); n != 0 {
		t.Errorf("ParseRef allocates %v times", n)
	}
}

// keyForm is the form of a key as the design gives it.
var keyForm = regexp.MustCompile(`^(acct_[A-Za-z0-9]+\.)?cus_`)

func FuzzParseRef(f *testing.F) {
	for _, ref := range []string{"cus_1", "acct_1.cus_1", "acct_.cus_", "acct_1.acct_2.cus_1", "id:a", "key:b", "é"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		name, isID := ParseRef(ref)
		switch {
		case strings.HasPrefix(ref, keyPrefix):
			if isID || keyPrefix+name != ref {
				t.Errorf("ParseRef(%q) = %q, %v", ref, name, isID)
			}
		case strings.HasPrefix(ref, idPrefix):
			if !isID || idPrefix+name != ref {
				t.Errorf("ParseRef(%q) = %q, %v", ref, name, isID)
			}
		case name != ref || isID == keyForm.MatchString(ref):
			t.Errorf("ParseRef(%q) = %q, %v; want isID %v", ref, name, isID, !keyForm.MatchString(ref))
		}
	})
}
