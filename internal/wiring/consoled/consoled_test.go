package consoled

import (
	"strings"
	"testing"

	"entitled/internal/daemon"
)

const good = "0123456789abcdef"

// Without a password only this machine may see the console, and what is wrong says the next step.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s    Settings
		want string // in the error; "" for none
	}{
		{Settings{Addr: "127.0.0.1:8084"}, ""},
		{Settings{Addr: "[::1]:8084"}, ""},
		{Settings{Addr: "localhost:0"}, ""},
		{Settings{Addr: ":8084", Password: good}, ""},
		{Settings{Addr: "127.0.0.1:8084", Password: good, Hosts: "console.example.com, ops.local"}, ""},
		{Settings{Addr: ":8084"}, "CONSOLE_ADDR :8084 is not on loopback\n    hint: a random password of 16 characters or " +
			"more: openssl rand -hex 16; or CONSOLE_ADDR=127.0.0.1:8084"},
		{Settings{Addr: "0.0.0.0:8084"}, "is not on loopback"},
		{Settings{Addr: "10.0.0.5:8084"}, "is not on loopback"},
		{Settings{Addr: "console.example.com:8084"}, "is not on loopback"},
		{Settings{Addr: "127.0.0.1:8084", Hosts: "console.example.com"}, "missing, while CONSOLE_HOSTS lets others"},
		{Settings{Addr: "127.0.0.1:8084", Password: "hunter2"}, "shorter than 16 characters"},
		{Settings{Addr: ":8084", Password: good, Hosts: "https://console.example.com"}, "not a list of host names"},
		{Settings{Addr: ":8084", Password: good, Hosts: "a.example,,b.example"}, "not a list of host names"},
		{Settings{Addr: ":8084", Password: good, Hosts: "*"}, "not a list of host names"},
		{Settings{Addr: "8084"}, "not host:port"},
	} {
		check := daemon.Checker{Program: "entitled console"}
		got := c.s.Check(&check)
		text := ""
		if err := check.Err(); err != nil {
			text = err.Error()
		}
		if (text == "") != (c.want == "") || !strings.Contains(text, c.want) {
			t.Errorf("%+v: %q, want %q", c.s, text, c.want)
		}
		if c.s.Password != "" && strings.Contains(text, c.s.Password) {
			t.Errorf("the password is in %q", text)
		}
		if text == "" && got.Addr != c.s.Addr {
			t.Errorf("%+v: the address is %q", c.s, got.Addr)
		}
	}
}
