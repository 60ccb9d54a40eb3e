package daemon

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want time.Duration
		err  string
	}{
		{in: "5s", want: 5 * time.Second},
		{in: "500ms", want: 500 * time.Millisecond},
		{in: "90d", want: 90 * 24 * time.Hour},
		{in: "1d12h", want: 36 * time.Hour},
		{in: "0", want: 0},
		{in: "106751d", want: 106751 * 24 * time.Hour},
		{in: "106752d", err: "not a number of days"},
		{in: "106751d24h", err: "out of range"},
		{in: "5", err: "no unit"},
		{in: "1d5", err: "no unit"},
		{in: "-1d", err: "not a number of days"},
		{in: "1.5d", err: "not a number of days"},
		{in: "d", err: "not a number of days"},
		{in: "soon", err: "not a duration"},
		{in: "", err: "not a duration"},
	} {
		got, err := parseDuration(tc.in)
		if got != tc.want || message(err) != tc.err {
			t.Errorf("%q: %v, %v; want %v, %q", tc.in, got, err, tc.want, tc.err)
		}
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want int64
		err  string
	}{
		{in: "1048576", want: 1 << 20},
		{in: "1 MiB", want: 1 << 20},
		{in: "512KiB", want: 512 << 10},
		{in: "1mb", want: 1e6},
		{in: "2 kB", want: 2000},
		{in: "7 B", want: 7},
		{in: "1 GiB", err: "unknown unit"},
		{in: "1.5 MiB", err: "unknown unit"},
		{in: "9223372036854775807 KiB", err: "out of range"},
		{in: "99999999999999999999", err: "not a size"},
		{in: "-1", err: "not a size"},
		{in: "MiB", err: "not a size"},
	} {
		got, err := parseBytes(tc.in)
		if got != tc.want || message(err) != tc.err {
			t.Errorf("%q: %v, %v; want %v, %q", tc.in, got, err, tc.want, tc.err)
		}
	}
}

// The values in a hint parse to themselves.
func TestHintsReadBack(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{
		time.Millisecond, 90 * time.Second, time.Hour, 36 * time.Hour, 72 * time.Hour, 90 * day,
	} {
		if got, err := parseDuration(inDays(d)); err != nil || got != d {
			t.Errorf("%s is written %s, which reads as %s, %v", d, inDays(d), got, err)
		}
	}
	for _, n := range []int64{1, 1000, 1 << 10, 3 << 19, 1 << 20, 16 << 20} {
		if got, err := parseBytes(inBytes(n)); err != nil || got != n {
			t.Errorf("%d is written %s, which reads as %d, %v", n, inBytes(n), got, err)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
