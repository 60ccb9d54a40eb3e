package ingest

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"
)

// code is the error of an answer, in the words that Stripe's side sees. It may be a metric label.
type code string

const (
	signatureMissing code = "signature_missing"
	signatureInvalid code = "signature_invalid"
	outOfTolerance   code = "timestamp_out_of_tolerance"
	notAnEvent       code = "not_an_event"
	bodyTooLarge     code = "body_too_large"
	bodyUnreadable   code = "body_unreadable"
	notStored        code = "not_stored"
	methodNotAllowed code = "method_not_allowed"
	notFound         code = "not_found"
	internalError    code = "internal_error"
)

// door decides who comes in.
type door struct {
	secrets   []string
	tolerance time.Duration
	now       func() time.Time
}

// verify returns "" if the body was signed with one of the secrets at a time within the tolerance, else why not.
//
// stripe-go computes and compares the signature. The timestamp is judged here: stripe-go lets any future one pass, and
// answers "too old" before it has looked at the signature, so that with several secrets, or a forged
// signature, its answer could not be believed.
func (d *door) verify(body []byte, header string) code {
	signed, ok := signedAt(header)
	if !ok {
		if header == "" {
			return signatureMissing
		}
		return signatureInvalid
	}
	for _, secret := range d.secrets {
		err := webhook.ValidatePayloadIgnoringTolerance(body, header, secret)
		switch {
		case err == nil:
			if age := d.now().Sub(signed); age > d.tolerance || age < -d.tolerance {
				return outOfTolerance
			}
			return ""
		case !errors.Is(err, webhook.ErrNoValidSignature):
			return signatureInvalid
		}
	}
	return signatureInvalid
}

// signedAt returns the time in a Stripe-Signature header ("t=1495999758,v1=ABC,v1=DEF,v0=GHI"), and false for a header in
// which stripe-go v76 would find no signature to check. It reads as stripe-go does: the last t counts, v1
// values that are not hexadecimal and unknown schemes are passed over, anything that is not key=value spoils the whole. A
// header without t has the zero time, which is out of any tolerance.
func signedAt(header string) (time.Time, bool) {
	var signed time.Time
	found := false
	for more := header != ""; more; {
		var pair string
		pair, header, more = strings.Cut(header, ",")
		key, value, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(value, "=") {
			return time.Time{}, false
		}
		switch key {
		case "t":
			unix, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return time.Time{}, false
			}
			signed = time.Unix(unix, 0)
		case "v1":
			if _, err := hex.DecodeString(value); err == nil {
				found = true
			}
		}
	}
	return signed, found
}
