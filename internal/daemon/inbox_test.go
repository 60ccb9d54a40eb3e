package daemon

import "testing"

func TestInboxPrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		nats NATS
		want string
	}{
		{"nobody", NATS{URL: "nats://127.0.0.1:4222"}, "_INBOX"},
		{"a user", NATS{URL: "nats://127.0.0.1:4222", User: "syncer", Password: "p"}, "_INBOX_syncer"},
		{"a user in a URL", NATS{URL: "nats://a:4222, nats://ops:p@b:4222"}, "_INBOX_ops"},
		{"a token, which is secret", NATS{URL: "nats://t0ken@a:4222"}, "_INBOX"},
		{"credentials", NATS{URL: "nats://a:4222", Creds: "a.creds"}, "_INBOX"},
		{"a name that is no word of a subject", NATS{User: "a.b *>", Password: "p"}, "_INBOX"},
		{"as set", NATS{User: "syncer", Password: "p", InboxPrefix: "_INBOX"}, "_INBOX"},
	} {
		if got := tt.nats.inboxPrefix(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
