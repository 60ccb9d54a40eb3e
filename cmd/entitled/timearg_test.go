package main

import (
	"strings"
	"testing"
	"time"

	"entitled/internal/tell"
)

// Times are read as the tool prints them and as people type them. A time of day is the latest that
// has passed.
func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 21, 36, 0, 500e6, time.FixedZone("CET", 3600)) // 20:36:00.5 UTC
	at := func(h, m, s, ns int) time.Time { return time.Date(2026, 11, 25, h, m, s, ns, time.UTC) }
	for text, want := range map[string]time.Time{
		"":                               {},
		"2026-11-25 21:20:00 UTC":        at(21, 20, 0, 0),
		"2026-11-25 21:20:00.712 UTC":    at(21, 20, 0, 712e6),
		"2026-11-25 21:20:00":            at(21, 20, 0, 0),
		"2026-11-25 21:20:00.25":         at(21, 20, 0, 250e6),
		"2026-11-25T21:20:00":            at(21, 20, 0, 0),
		"2026-11-25T21:20:00.5":          at(21, 20, 0, 500e6),
		"2026-11-25T21:20":               at(21, 20, 0, 0),
		"2026-11-25 21:20":               at(21, 20, 0, 0),
		"2026-11-25 21:20 UTC":           at(21, 20, 0, 0),
		"2026-11-25T21:20:00Z":           at(21, 20, 0, 0),
		"2026-11-25T21:20:00.123456789Z": at(21, 20, 0, 123456789),
		"2026-11-25T21:20:00+01:00":      at(20, 20, 0, 0),
		"2026-11-25T21:20+01:00":         at(20, 20, 0, 0),
		"2026-11-25 21:20:00+01:00":      at(20, 20, 0, 0),
		"2026-11-25":                     at(0, 0, 0, 0),
		"2026-11-25 UTC":                 at(0, 0, 0, 0),
		"14:02":                          at(14, 2, 0, 0),
		"9:05":                           at(9, 5, 0, 0),
		"14:02:05":                       at(14, 2, 5, 0),
		"14:02:05 UTC":                   at(14, 2, 5, 0),
		"01:20:08.771":                   at(1, 20, 8, 771e6),
		"20:36:00.5":                     at(20, 36, 0, 500e6),
		"20:36:00.6":                     at(20, 36, 0, 600e6).AddDate(0, 0, -1),
		"20:37":                          at(20, 37, 0, 0).AddDate(0, 0, -1),
		"0s":                             at(20, 36, 0, 500e6),
		"90m":                            at(19, 6, 0, 500e6),
		"3d":                             at(20, 36, 0, 500e6).AddDate(0, 0, -3),
		"1d12h":                          at(8, 36, 0, 500e6).AddDate(0, 0, -1),
	} {
		if got, err := tell.TimeArg("--at", text, now); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v, want %v: %v", text, got, want, err)
		}
	}
	for _, text := range []string{
		"yesterday", "-2h", "-1d", "2h UTC", "24:00", "14:60", "2026-11-31", "2026-11-25 25:00",
		"2026-11-25T21:20:00Z UTC",
		"65535d2562047h", "d", "1700000000", " 14:02",
	} {
		if got, err := tell.TimeArg("--at", text, now); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

// A time that cannot be meant is refused, with a hint at its own mistake.
func TestTimesRefused(t *testing.T) {
	t.Parallel()
	env := map[string]string{"STRIPE_API_KEY": "rk_test_x", "NATS_URL": "nats://127.0.0.1:1"}
	const forms = "hint: times are 2h or 3d (ago), 14:02 (the latest), "
	for _, tc := range []struct{ args, want, hint string }{
		{"events --since nonsense", `--since "nonsense": neither`, forms},
		{"events --until nonsense", `--until "nonsense": neither`, forms},
		{"explain cus_1 --at nonsense", `--at "nonsense": neither`, forms},
		{"recover --since nonsense", `--since "nonsense": neither`, forms},
		{"events --since 2096-01-01", "--since 2096-01-01 00:00:00 UTC is ahead: it is 20",
			"hint: give a time that has passed\n"},
		{"replay --since 2096-01-01", "--since 2096-01-01 00:00:00 UTC is ahead",
			"hint: give a time that has passed\n"},
		{"recover --since 2096-01-01", "--since 2096-01-01 00:00:00 UTC is ahead",
			"hint: give a time that has passed\n"},
		{"explain cus_1 --since 2096-01-01", "--since 2096-01-01 00:00:00 UTC is ahead",
			"hint: give a time that has passed\n"},
		{"explain cus_1 --at 2096-01-01", "--at 2096-01-01 00:00:00 UTC is ahead",
			"hint: give a time that has passed\n"},
		{"events --since 2026-01-02 --until 2026-01-01",
			"--until 2026-01-01 00:00:00 UTC is not after --since 2026-01-02 00:00:00 UTC\n",
			"hint: --until is where the slice ends"},
		{"events --type customer.[", `--type: event type "customer.[": '[' is not a wildcard here` + "\n",
			"hint: use *, which also matches dots\n"},
		{"replay --type A,b. --since x", `--since "x": neither a time nor a duration; --type: event type "A": 'A' is upper case; --type: event type "b.": `, "; Stripe's types are lower case: \"a\"; as in customer.subscription.*\n"},
		{"explain cus_1 --at 2h --check", "--at and --check exclude each other",
			"hint: Stripe knows the current state only"},
		{"explain cus_1 --at 2h --since 3h", "--at and --since exclude each other", "hint: --at shows one instant"},
	} {
		code, out, errs := entitled(t, env, strings.Fields(tc.args)...)
		if code != 2 || out != "" || !strings.Contains(errs, tc.want) || !strings.Contains(errs, tc.hint) {
			t.Errorf("%s: exit code %d, %s%s", tc.args, code, out, errs)
		}
		if tc.hint != forms && !strings.Contains(tc.args, "--since x") && strings.Contains(errs, forms) {
			t.Errorf("%s: hints at how times are written:\n%s", tc.args, errs)
		}
	}
}
