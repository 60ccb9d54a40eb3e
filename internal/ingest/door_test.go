package ingest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"
)

// FuzzSignedAt compares signedAt with stripe-go. The tolerance accepts every timestamp, so all of
// stripe-go's errors except "no valid signature" are about the header; with a body signed under the
// header, that one is too.
func FuzzSignedAt(f *testing.F) {
	for _, h := range []string{
		"", ",", "t=1", "v1=", "v1=00", "t=1,v1=00", "t=1,v1=00,", "t=1,v1=0", "t=x,v1=00",
		"t=1,t=2,v1=zz,v1=aA,v0=1", "t=1=2,v1=00", "=,v1=00", "t=-1,v1=00", "t=9223372036854775807,v1=00",
		"t=9223372036854775808,v1=00", "t=1, v1=00", "v1=00,t=+1", "V1=00", "t,v1=00", "t=1;v1=00",
	} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, header string) {
		at, ok := signedAt(header)
		err := webhook.ValidatePayloadIgnoringTolerance([]byte("x"), header, secret)
		// stripe-go answers ErrNoValidSignature both for a header without a signature and for a
		// wrong one. Adding the right signature, for the time that signedAt returned, distinguishes
		// them.
		if err != nil && !errors.Is(err, webhook.ErrNoValidSignature) {
			if ok {
				t.Fatalf("%q: read as %v, stripe-go says %v", header, at, err)
			}
			return
		}
		if !ok {
			// The header has no v1: adding one must be all that was missing.
			if at, ok = signedAt(header + ",v1=00"); !ok {
				t.Fatalf("%q: refused, stripe-go reads it", header)
			}
		}
		mac := sign("x", secret, at)
		if at.IsZero() {
			mac = noTime("x")
			mac = "," + mac
		}
		if err := webhook.ValidatePayloadIgnoringTolerance([]byte("x"), header+mac[strings.Index(mac, ",v1"):],
			secret); err != nil {
			t.Fatalf("%q: signed at %v, stripe-go says %v", header, at, err)
		}
	})
}

// A body in parts counts as signed if and only if the joined body does.
func TestSignedInParts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	text := strings.Repeat("0123456789", 5000)
	d := door{secrets: []string{secret, otherSecret}, tolerance: time.Hour, now: time.Now}
	good, other, forged := sign(text, secret, now), sign(text, otherSecret, now), sign(text, "whsec_guess", now)
	v1 := func(header string) string { return header[strings.Index(header, ",v1"):] }
	for name, header := range map[string]string{
		"good": good, "second secret": other, "forged": forged, "two, the second good": forged + v1(good),
		"two, the first good": good + v1(forged),
		"upper case":          good[:20] + strings.ToUpper(good[20:]), "not hexadecimal": good + "zz",
		"short":        good[:len(good)-2],
		"another time": strings.Replace(good, "t=", "t=1,t=", 1), "v0 only": strings.Replace(good, "v1", "v0", 1),
		"none":            "t=1",
		"of another body": sign(text+" ", secret, now), "the time before": "t=1" + v1(good),
		"the last time counts": good + ",t=1",
	} {
		whole := d.verify([]byte(text), header) == ""
		for _, cut := range []int{1, partSize, len(text) - 1} {
			if got := d.signed(body{[]byte(text[:cut]), []byte(text[cut:])}, header); got != whole {
				t.Errorf("%s, cut at %d: %v in parts, %v as a whole", name, cut, got, whole)
			}
		}
	}
}

// FuzzDoor: no request panics, and none is answered 200 unless stripe-go accepts its signature.
func FuzzDoor(f *testing.F) {
	body := fixture(f, "invoice.paid")
	now := time.Now()
	f.Add([]byte(body), sign(body, secret, now), false)
	f.Add([]byte(body), sign(body, otherSecret, now), true)
	f.Add([]byte(body), sign(body, "", now), true)
	f.Add([]byte(body), sign(body, secret, now.Add(time.Hour)), true)
	f.Add([]byte(`{"id":"e","type":"t"}`), "", true)
	f.Add([]byte(`{"id":"e","type":"..","data":{"object":{"customer":"\ud800."}},"account":"self"}`), "sign", true)
	f.Add([]byte(`{`), "t=1,v1=", true)
	p := &fakePublisher{}
	in := fakeIngest(f, p, nil)
	f.Fuzz(func(t *testing.T, body []byte, header string, chunked bool) {
		p.msgs = nil
		if header == "sign" {
			header = sign(string(body), secret, time.Now())
		}
		r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(string(body)))
		if chunked {
			r.ContentLength = -1
		}
		r.Header["Stripe-Signature"] = []string{header}
		w := httptest.NewRecorder()
		in.Handler().ServeHTTP(w, r)
		accepted := false
		for _, s := range []string{secret, otherSecret} {
			accepted = accepted || webhook.ValidatePayload(body, header, s) == nil
		}
		switch w.Code {
		case http.StatusOK:
			if !accepted || len(p.msgs) == 0 {
				t.Fatalf("200 with %d messages; stripe-go accepts: %v", len(p.msgs), accepted)
			}
			if string(p.msgs[0].Data) != string(body) {
				t.Fatal("stored other bytes")
			}
		case http.StatusBadRequest:
			if len(p.msgs) > 0 {
				t.Fatal("refused and stored")
			}
		default:
			t.Fatalf("answer %d", w.Code)
		}
	})
}
