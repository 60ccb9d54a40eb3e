package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// What to do about a refusal depends on who refused, which a syncer says beside it.
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
		{"502", `{"stripe_status":0}`, "hint: Stripe did not answer: is STRIPE_API_BASE right, and within reach?", "permissions"},
		{"502", `{"stripe_status":429}`, "hint: Stripe has had too many requests: try again", "permissions"},
		{"502", `{"stripe_status":401}`, "hint: Stripe refused: check the key's permissions and mode, and the account", "again"},
		{"502", `{"stripe_status":403}`, "hint: Stripe refused: check the key's permissions and mode, and the account", "again"},
		{"502", ``, "hint: if Stripe refused, check the key's permissions and mode, and the account; if it had trouble, try again", ""},
		{"503", ``, "hint: the syncer's log says more", "Stripe"},
	} {
		code, data = tc.code, tc.data
		_, errs := m.run(t, 1, "sync", "cus_Amelia")
		if !strings.Contains(errs, "sync cus_Amelia: list subscriptions: as it was ("+tc.code+")\n  "+tc.want) || tc.not != "" && strings.Contains(errs, tc.not) {
			t.Errorf("%s %s:\n%s", tc.code, tc.data, errs)
		}
	}
}
