package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"entitled/internal/natstest"
)

// With its mode the console starts while NATS is away, asks for its password, and ends in order.
func TestConsole(t *testing.T) {
	t.Parallel()
	const password = "0123456789abcdef"
	p, out, errs := process(map[string]string{"CONSOLE_ADDR": "127.0.0.1:0", "CONSOLE_PASSWORD": password,
		"NATS_URL": "nats://127.0.0.1:1"}, "console", "--mode", "live")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // received below
	t.Cleanup(stop)
	var url string
	natstest.Eventually(t, patience, func() error {
		if url = regexp.MustCompile(`http://[0-9.:]+`).FindString(out.String()); url == "" {
			return errors.New("no address yet: " + errs.String())
		}
		return nil
	})
	for given, want := range map[string]int{"": http.StatusUnauthorized, password: http.StatusServiceUnavailable} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if given != "" {
			r.SetBasicAuth("ops", given)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close() //nolint:errcheck // read to the end
		if err != nil || res.StatusCode != want || strings.Contains(string(body), "live mode") != (given != "") {
			t.Errorf("with the password %q: %d, %v\n%s", given, res.StatusCode, err, body)
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	if strings.Contains(out.String()+errs.String(), password) {
		t.Error("the password is printed")
	}
}

// Strangers are not let in by mistake, and without NATS and a mode there is nothing to show.
func TestConsoleRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		code int
		want string
	}{
		{map[string]string{"CONSOLE_ADDR": "0.0.0.0:0"}, 2, "CONSOLE_PASSWORD (--console-password): missing, while " +
			"CONSOLE_ADDR 0.0.0.0:0 is not on loopback"},
		{map[string]string{"CONSOLE_ADDR": "127.0.0.1:0", "NATS_URL": "nats://127.0.0.1:1"}, 1, "hint: start NATS"},
	} {
		if code, out, errs := entitled(t, c.env, "console"); code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, %q:\n%s", c.env, code, out, errs)
		}
	}
}
