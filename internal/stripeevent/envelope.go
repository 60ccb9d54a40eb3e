// Package stripeevent reads the parts of a Stripe event that this system uses: five fields of its
// envelope and the customer that it may have changed. It also makes the NATS subjects and messages
// of events and markers.
//
// [Parse] reads an [Envelope] from the verified bytes of a webhook, under any API version.
// [Types.Marks] reports whether events of its type mark their customer. [EventSubject], [MsgID] and
// [BodyDigest] say how the event is stored, [SyncSubject] and [EncodeMarker] how its customer is
// marked. The Parse…Subject functions are the inverses.
//
// An event's body is never used as state; it only says which customer may have changed. The package
// is pure: it imports only the standard library and [entitled/entitlement].
package stripeevent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"entitled/entitlement/snapshot"
)

// ErrNotEvent is returned by [Parse] for bytes that are not a JSON object with a string id and a
// string type that are not empty.
var ErrNotEvent = errors.New("not a Stripe event")

// Oddity names a defect of an event that can be stored all the same. It has few values, so it may
// be a metric label.
type Oddity string

const (
	// OddLong is an id or a type of more than 255 bytes.
	OddLong Oddity = "long"
	// OddAccount is an account, or a thin event's context, that does not name an account.
	OddAccount Oddity = "account"
	// OddCreated is a creation time that is neither unix seconds nor, as in thin events, RFC 3339.
	OddCreated Oddity = "created"
	// OddLivemode is a livemode that is absent or not a boolean.
	OddLivemode Oddity = "livemode"
	// OddCustomer is a customer that is present but neither null, an id nor an object with an id.
	OddCustomer Oddity = "customer"
	// OddData is a data, data.object or related_object that is not an object.
	OddData Oddity = "data"
)

// Oddities lists all of them.
var Oddities = [...]Oddity{OddLong, OddAccount, OddCreated, OddLivemode, OddCustomer, OddData}

// Envelope holds the fields read from an event's body.
type Envelope struct {
	// ID is the event's id (evt_…), Type its type. Neither is empty.
	ID   string
	Type string
	// Account is the connected account (acct_…) of the event; "" for the platform's own account.
	Account string
	// Customer is the customer that the event may have changed; "" if it names none.
	Customer string
	// Created is the event's time in unix seconds; 0 if absent. Never order events by it: its
	// resolution is one second, and several events share it.
	Created  int64
	Livemode bool
	// CustomerAccount reports that the event names no customer but a customer_account, which takes
	// its place in Stripe's Accounts v2. The pinned API version cannot list subscriptions by it.
	CustomerAccount bool
	// Odd is the first defect found; "" for none.
	Odd Oddity
}

// Mode returns the mode of the event.
func (e *Envelope) Mode() snapshot.Mode { return snapshot.ModeOf(e.Livemode) }

// Owner returns the customer under which the event is stored; its ID is "" if the event names none.
func (e *Envelope) Owner() Customer {
	return Customer{Mode: e.Mode(), Account: e.Account, ID: e.Customer}
}

// Parse reads the envelope of an event in one pass, without decoding the rest. It accepts what
// encoding/json accepts; of a repeated key the last counts, and the order of keys does not matter.
//
// The customer is the first of these that is present:
//   - data.object.id, if data.object.object is "customer";
//   - data.object.customer, an id or an object with an id;
//   - data.previous_attributes.customer (payment_method.detached: the method no longer has a customer);
//   - data.object.owner.customer (customer.tax_id.*);
//   - related_object.id of a thin event, if related_object.type is "customer".
//
// An odd event is still an event. But if its customer, account or livemode is present and cannot be
// read, it names no customer, so that it never marks the wrong one. An absent livemode is odd and
// means test mode, like false.
//
// The only error is [ErrNotEvent], with the reason.
func Parse(body []byte) (Envelope, error) {
	r := reader{scanner: scanner{doc: body}}
	if !r.scan() {
		return Envelope{}, fmt.Errorf("%w: the body is not JSON", ErrNotEvent)
	}
	e := Envelope{ID: r.str(slotID), Type: r.str(slotType)}
	if e.ID == "" || e.Type == "" {
		return Envelope{}, fmt.Errorf("%w: no string id and type in it", ErrNotEvent)
	}
	e.ID, e.Type = r.short(e.ID), r.short(e.Type)
	e.Livemode = r.livemode()
	e.Created = r.created()
	e.Account = r.account()
	e.Customer = r.customer()
	if r.doubt {
		e.Customer = ""
	}
	e.CustomerAccount = e.Customer == "" && !r.doubt && r.str(slotCustomerAccount) != ""
	e.Odd = r.odd
	return e, nil
}

// reader reads values of a scanned document.
type reader struct {
	scanner
	odd Oddity
	// doubt reports that the customer is uncertain: the envelope then names none.
	doubt bool
}

// note keeps the first oddity.
func (r *reader) note(o Oddity) {
	if r.odd == "" {
		r.odd = o
	}
}

func (r *reader) doubtful(o Oddity) string {
	r.note(o)
	r.doubt = true
	return ""
}

// raw returns the text of a value, nil if it is absent.
func (r *reader) raw(s slot) []byte { return r.doc[r.found[s].from:r.found[s].to] }

// first returns the first byte of a value, which shows its kind. It is 'n' for null and for an
// absent value.
func (r *reader) first(s slot) byte {
	if raw := r.raw(s); len(raw) > 0 {
		return raw[0]
	}
	return 'n'
}

// str returns the string in a slot, "" for anything else.
func (r *reader) str(s slot) string {
	if r.first(s) != '"' {
		return ""
	}
	return unquote(r.raw(s))
}

// is reports whether a slot holds the string want.
func (r *reader) is(s slot, want string) bool {
	if r.first(s) != '"' {
		return false
	}
	raw := r.raw(s)
	if bytes.IndexByte(raw, '\\') >= 0 {
		return unquote(raw) == want
	}
	return string(raw[1:len(raw)-1]) == want
}

// maxID is the greatest length in bytes of an id or a type that is used unchanged. Stripe's are
// about 30. A NATS server takes 4,096 bytes of subject and sizes, and escaping may triple each of
// the three parts of a subject.
const maxID = 255

// short replaces the end of an overlong event id or type by a digest, so that different ones stay
// different.
func (r *reader) short(s string) string {
	if len(s) <= maxID {
		return s
	}
	r.note(OddLong)
	sum := sha256.Sum256([]byte(s))
	return s[:maxID-1-2*len(sum)] + "~" + hex.EncodeToString(sum[:])
}

func (r *reader) livemode() bool {
	switch r.first(slotLivemode) {
	case 't':
		return true
	case 'f':
	case 'n':
		r.note(OddLivemode)
	default:
		r.doubtful(OddLivemode)
	}
	return false
}

func (r *reader) created() int64 {
	switch r.first(slotCreated) {
	case 'n':
		return 0
	case '"':
		if t, err := time.Parse(time.RFC3339, r.str(slotCreated)); err == nil {
			return t.Unix()
		}
	default:
		if n, err := strconv.ParseInt(string(r.raw(slotCreated)), 10, 64); err == nil {
			return n
		}
	}
	r.note(OddCreated)
	return 0
}

func (r *reader) account() string {
	s := slotAccount
	thin := r.first(slotAccount) == 'n' && r.first(slotObject) == 'n'
	if thin {
		s = slotContext
	}
	if r.first(s) == 'n' {
		return ""
	}
	id := r.str(s)
	switch {
	case len(id) > maxID:
		return r.doubtful(OddLong)
	case id == "":
		return r.doubtful(OddAccount)
	case thin && (!strings.HasPrefix(id, "acct_") || strings.Contains(id, "/")):
		// A context may also be a path through an organization.
		return r.doubtful(OddAccount)
	}
	return id
}

func (r *reader) customer() string {
	for _, s := range [...]slot{slotData, slotObject, slotRelated} {
		if c := r.first(s); c != 'n' && c != '{' {
			r.note(OddData)
		}
	}
	var id string
	switch {
	case r.is(slotObjectObject, "customer"):
		if id = r.str(slotObjectID); id == "" {
			return r.doubtful(OddCustomer)
		}
	case r.first(slotObject) == 'n' && r.is(slotRelatedType, "customer"):
		if id = r.str(slotRelatedID); id == "" {
			return r.doubtful(OddCustomer)
		}
	default:
		for _, s := range [...]slot{slotCustomer, slotPreviousCustomer, slotOwnerCustomer} {
			if id = r.reference(s); id != "" || r.doubt {
				break
			}
		}
	}
	if len(id) > maxID {
		return r.doubtful(OddLong)
	}
	return id
}

// reference returns the customer in a slot: an id, or the id of an expanded object.
func (r *reader) reference(s slot) string {
	switch r.first(s) {
	case 'n':
		return ""
	case '"':
		return r.str(s)
	case '{':
		if id := r.str(s + 1); id != "" {
			return id
		}
	}
	return r.doubtful(OddCustomer)
}
