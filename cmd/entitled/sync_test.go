package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/daemon"
	"entitled/internal/tell"
)

// The hint after a refusal depends on the program that refused, which the syncer's answer names.
func TestSyncSaysWhatToDo(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	var code, data string
	m.answer(t, func([]byte) *nats.Msg {
		reply := nats.NewMsg("")
		reply.Header.Set("Nats-Service-Error", "list subscriptions: as it was")
		reply.Header.Set("Nats-Service-Error-Code", code)
		reply.Data = []byte(data)
		return reply
	})
	for _, tc := range []struct{ code, data, want, not string }{
		{"502", `{"stripe_status":500}`, "hint: Stripe has trouble: try again in a minute", "permissions"},
		{"502", `{"stripe_status":200}`, "hint: Stripe has trouble: try again in a minute", "permissions"},
		{"502", `{"stripe_status":409}`, "hint: Stripe has trouble: try again in a minute", "permissions"},
		{"502", `{"stripe_status":0}`, "hint: Stripe did not answer: check STRIPE_API_BASE and the network",
			"permissions"},
		{"502", `{"stripe_status":429}`, "hint: Stripe has had too many requests: try again", "permissions"},
		{"502", `{"stripe_status":401}`, "hint: Stripe refused: check the key's permissions and mode, and the account", "again"},
		{"502", `{"stripe_status":403}`, "hint: Stripe refused: check the key's permissions and mode, and the account", "again"},
		{"502", ``, "hint: if Stripe refused, check the key's permissions and mode, and the account; if it had trouble, try again", ""},
		{"404", ``, "hint: check the id, the mode and the account; nothing was written", "Stripe"},
		{"503", ``, "hint: see the syncer's log", "Stripe"},
		{"503", `{"nats":"full"}`, "hint: `entitled doctor` shows which server is full", "Stripe"},
		{"503", `{"nats":"silent"}`, "hint: NATS does not store what the syncer writes", "Stripe"},
	} {
		code, data = tc.code, tc.data
		_, errs := m.run(t, 1, "sync", "cus_Amelia")
		if !strings.Contains(errs, "sync cus_Amelia: list subscriptions: as it was ("+tc.code+")\n  "+tc.want) ||
			tc.not != "" && strings.Contains(errs, tc.not) {
			t.Errorf("%s %s:\n%s", tc.code, tc.data, errs)
		}
	}
}

// TestFullStoreIsNamed: whatever a command was about to store, and whatever it says of that
// otherwise.
func TestFullStoreIsNamed(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	s := command.NewSession(daemon.Process{Name: "entitled", Getenv: func(string) string { return "" }, Stdout: &out,
		Stderr: &errs})
	err := tell.WithHint(fmt.Errorf("mark cus_1: %w",
		&jetstream.APIError{Code: 503, ErrorCode: 10023, Description: "insufficient resources"}), "try again")
	if code := s.Fail(err); code != 1 {
		t.Errorf("exit code %d", code)
	}
	want := "entitled: the store of a NATS server is full (see `entitled doctor`): mark cus_1: nats: API error: code=503 err_code=10023 description=insufficient resources\n" +
		"  hint: `entitled doctor` shows which server is full: make room on its disk, or raise max_file_store in nats.conf, then restart it\n"
	if errs.String() != want {
		t.Errorf("printed %s", &errs)
	}
}
