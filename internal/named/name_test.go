package named_test

import (
	"strings"
	"testing"

	"entitled/internal/named"
	"entitled/internal/stripeevent"
)

func TestParse(t *testing.T) {
	t.Parallel()
	key := func(account, id string) named.Name {
		return named.Name{Customer: stripeevent.Customer{Account: account, ID: id}}
	}
	id := func(id string) named.Name { return named.Name{ID: id} }
	for _, c := range []struct {
		arg, account string
		want         named.Name
	}{
		{"cus_1", "", key("", "cus_1")},
		{"cus_1", "self", key("", "cus_1")},
		{"cus_1", "acct_A", key("acct_A", "cus_1")},
		{"acct_A.cus_1", "", key("acct_A", "cus_1")},
		{"acct_A/cus_1", "", key("acct_A", "cus_1")},
		{"acct_A/cus_1", "acct_A", key("acct_A", "cus_1")},
		{"42", "", id("42")},
		{"42", "self", id("42")},
		{"42", "acct_A", key("acct_A", "42")},
		{"ada@example.com", "", id("ada@example.com")},
		{"acct_A/user", "", id("acct_A/user")},
		{"/cus_1", "", id("/cus_1")},
		{"id:cus_1", "", id("cus_1")},
		{"id:key:1", "", id("key:1")},
		{"key:42", "", key("", "42")},
		{"key:ada=40example=2Ecom", "", key("", "ada@example.com")},
		{"key:acct_A.42", "", key("acct_A", "42")},
		{"key:acct_A/42", "", key("acct_A", "42")},
	} {
		got, err := named.Parse(c.arg, c.account)
		if err != nil || got != c.want {
			t.Errorf("Parse(%q, %q) = %+v, %v; want %+v", c.arg, c.account, got, err, c.want)
		}
	}
	for _, c := range []struct{ arg, account, want string }{
		{"", "", "no customer is named"},
		{"id:", "", "no customer is named"},
		{"key:", "", "no customer is named"},
		{"cus_1", "A", "begin with acct_"},
		{"key:A.cus_1", "", "begin with acct_"},
		{"key:a b", "", "key token"},
		{"id:42", "acct_A", "ids are of your own account's customers"},
		{"acct_A/cus_1", "acct_B", "is not of --account acct_B"},
		{"acct_A/cus_1", "self", "is not of --account self"},
		{"cus_" + strings.Repeat("a", 5000), "", "none of a customer is longer"},
		{strings.Repeat("a", 5000), "", "none of a customer is longer"},
		{"cus_" + strings.Repeat("é", 900), "", "key of 5404 bytes"},
	} {
		if got, err := named.Parse(c.arg, c.account); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q, %q) = %+v, %v; want an error with %q", c.arg, c.account, got, err, c.want)
		}
	}
}

// What a command prints to be copied names the same customer again.
func FuzzArgument(f *testing.F) {
	for _, c := range [][2]string{{"", "cus_1"}, {"acct_A", "cus_1"}, {"", "42"}, {"acct_A", "4.2"}, {"", "id:a"},
		{"", "cus_a/b"}, {"", "acct_A.cus_1"}, {"acct_A", "cus_=2E"}, {"", "acct_A/cus_1"}, {"acct_a_b", "cus_1"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, account, id string) {
		if id == "" || len(account)+len(id) > 600 || account != "" && !strings.HasPrefix(account, "acct_") {
			return
		}
		c := stripeevent.Customer{Account: account, ID: id}
		arg := named.Argument(c)
		n, err := named.Parse(arg, "")
		if err != nil || n.ID != "" || n.Customer != c {
			t.Errorf("%q and %q: the argument %q names %+v, %v", account, id, arg, n, err)
		}
	})
}
