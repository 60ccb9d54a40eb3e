package stripeevent

import (
	"log/slog"
	"strings"
	"testing"

	"entitled/entitlement/snapshot"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	own := Customer{Mode: snapshot.Live, ID: "cus_1"}
	connected := Customer{Mode: snapshot.Test, Account: "acct_2", ID: "cus_1"}
	none := Customer{Mode: snapshot.Test}
	posing := Customer{Mode: snapshot.Test, Account: "self", ID: "none"}
	for _, tc := range []struct{ got, want string }{
		{EventSubject(own, "customer.subscription.updated"),
			"stripe.event.live.self.cus_1.customer.subscription.updated"},
		{EventSubject(connected, "invoice.paid"), "stripe.event.test.acct_2.cus_1.invoice.paid"},
		{EventSubject(none, "product.updated"), "stripe.event.test.self.none.product.updated"},
		{EventSubject(posing, "a"), "stripe.event.test.=73elf.=6Eone.a"},
		{EventSubject(own, "a..b*.>"), "stripe.event.live.self.cus_1.a.=.b=2A.=3E"},
		{EventSubject(own, ""), "stripe.event.live.self.cus_1.="},
		{EventsOf(connected), "stripe.event.test.acct_2.cus_1.>"},
		{EventsOf(posing), "stripe.event.test.=73elf.=6Eone.>"},
		{SyncSubject(Now, own), "stripe.sync.live.now.self.cus_1"},
		{SyncSubject(Bulk, connected), "stripe.sync.test.bulk.acct_2.cus_1"},
		{WakeSubject(own), "stripe.wake.live.self.cus_1"},
		{SyncedSubject(connected), "stripe.synced.test.acct_2.cus_1"},
		{ParkedKey(own), "parked.live.self.cus_1"},
		{CronSubject(snapshot.Live, "sweep"), "stripe.cron.live.sweep"},
		{JobSubject(snapshot.Live, "sweep"), "stripe.job.live.sweep"},
		{PingSubject(snapshot.Live), "$SRV.PING.entitled-sync-live"},
		{MsgID("", "evt_1"), "self/evt_1"},
		{MsgID("acct_2", "evt_1"), "acct_2/evt_1"},
		{MsgID("self", "evt\r\n1"), "=73elf/evt=0D=0A1"},
		{BodyDigest([]byte("123456789")), "e3069283"},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "stripe", "stripe.event", "stripe.event.live.self", "stripe.event.prod.self.cus_1.a",
		"stripe.event.live.self.cus_1", "stripe.event.live..cus_1.a", "stripe.event.live.self.cus_1.",
		"stripe.event.live.self.cus_1.a..b", "stripe.event.live.self.cus=6.a",
		"stripe.event.live.self.cus=61.a", // an escaped "a", which needs no escape
		"stripe.sync.live.soon.self.cus_1", "stripe.sync.live.now.self.cus_1.a", "stripe.sync.live.now.self",
		"stripe.wake.live.self.cus_1.a", "stripe.wake.live.self.cus_1.", "stripe.wake.live.self",
		"stripe.synced.live.self.*", "parked.live.self.cus_1.x",
	} {
		if c, typ, err := ParseEventSubject(s); err == nil {
			t.Errorf("event %q: got %+v, %q", s, c, typ)
		}
		if l, c, err := ParseSyncSubject(s); err == nil {
			t.Errorf("sync %q: got %q, %+v", s, l, c)
		}
		if c, err := ParseSyncedSubject(s); err == nil {
			t.Errorf("synced %q: got %+v", s, c)
		}
		if c, err := ParseParkedKey(s); err == nil {
			t.Errorf("parked %q: got %+v", s, c)
		}
	}
}

func TestMarker(t *testing.T) {
	t.Parallel()
	c := snapshot.Cause{Trigger: TriggerWebhook, Event: "evt_1", Type: "invoice.paid"}
	body := EncodeMarker(c)
	if want := `{"trigger":"webhook","event":"evt_1","type":"invoice.paid"}`; string(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if got := DecodeMarker(body); got != c {
		t.Errorf("got %+v, want %+v", got, c)
	}
	for _, b := range []string{"", "{}", "x", `{"trigger":5}`, `{"event":"evt_1"}`} {
		if got := DecodeMarker([]byte(b)); got != (snapshot.Cause{Trigger: "unknown"}) {
			t.Errorf("%q: got %+v", b, got)
		}
	}
}

// Every account, customer and type makes valid subjects, which parse to the same.
func FuzzSubject(f *testing.F) {
	for _, s := range [][3]string{
		{"", "cus_QXg1o8vcGmoR32", "customer.subscription.updated"}, {"acct_1PgafTB7WZ01zgkW", "", "a"},
		{"self", "none", "."}, {"=73elf", "=6Eone", "="},
		{"a.b", "*", ">.*"}, {"\x00\r\n", " é\xff", ""}, {"Self", "selfx", "x..y."},
	} {
		f.Add(s[0], s[1], s[2], true)
	}
	f.Fuzz(func(t *testing.T, account, id, typ string, live bool) {
		if max(len(account), len(id), len(typ)) > 600 { // a longer one may have no key
			return
		}
		c := Customer{Mode: snapshot.ModeOf(live), Account: account, ID: id}
		check := func(subject string, tokens int, back any, err error) {
			t.Helper()
			if err != nil || back != any(c) {
				t.Errorf("%q: got %+v back, error %v", subject, back, err)
			}
			parts := strings.Split(subject, ".")
			if len(parts) != tokens {
				t.Errorf("%q: %d tokens, want %d", subject, len(parts), tokens)
			}
			for _, p := range parts {
				if p == "" ||
					strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=") != "" {
					t.Errorf("%q: bad token %q", subject, p)
				}
			}
		}
		subject := EventSubject(c, typ)
		back, gotType, err := ParseEventSubject(subject)
		check(subject, 5+strings.Count(typ, ".")+1, back, err)
		if gotType != typ {
			t.Errorf("%q: type %q back, want %q", subject, gotType, typ)
		}
		// The subject of a parsed event must fit the server's control line of 4,096 bytes, with its
		// reply subject and sizes.
		if len(account) <= maxID && len(id) <= maxID && len(typ) <= maxID && len(subject) > 2500 {
			t.Errorf("subject of %d bytes", len(subject))
		}
		for _, l := range []Lane{Now, Bulk} {
			subject = SyncSubject(l, c)
			lane, back, err := ParseSyncSubject(subject)
			check(subject, 6, back, err)
			if lane != l {
				t.Errorf("%q: lane %q", subject, lane)
			}
		}
		back, err = ParseSyncedSubject(SyncedSubject(c))
		check(SyncedSubject(c), 5, back, err)
		back, err = ParseParkedKey(ParkedKey(c))
		check(ParkedKey(c), 4, back, err)
		if id := MsgID(account, id+"x"); strings.ContainsAny(id, "\r\n ") || strings.Count(id, "/") != 1 {
			t.Errorf("message id %q", id)
		}
	})
}

func BenchmarkEventSubject(b *testing.B) {
	c := Customer{Mode: snapshot.Live, ID: "cus_QXg1o8vcGmoR32"}
	b.ReportAllocs()
	for b.Loop() {
		_ = EventSubject(c, "customer.subscription.updated")
	}
}

// A log writes a customer as commands and people do.
func TestCustomerInALog(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("parked",
		"customer", Customer{Mode: "test", Account: "acct_1", ID: "cus_1"})
	if want := `"customer":"acct_1/cus_1"`; !strings.Contains(b.String(), want) {
		t.Errorf("%slacks %s", b.String(), want)
	}
}
