// Package stripeevent knows what a Stripe event is to this system: five fields of its envelope, the customer that
// it may have changed, and the NATS subjects and messages made of them.
//
// [Parse] reads an [Envelope] from the verified bytes of a webhook, whatever API version rendered them, and
// [Types.Marks] says whether its type may change what a customer is entitled to. [EventSubject], [MsgID] and
// [BodyDigest] say how the event is logged, [SyncSubject] and [EncodeMarker] how its customer is marked dirty. The functions
// named Parse…Subject read the subjects back.
//
// Nothing in an event's body is used as state: who may have changed is all that is taken from it. The package is pure; it
// imports the standard library and [entitled/entitlement] only.
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

	"entitled/entitlement"
)

// ErrNotEvent is returned by [Parse] for bytes that are not a JSON object with a string id and a string type,
// neither of them empty.
var ErrNotEvent = errors.New("not a Stripe event")

// Oddity names what is wrong with an event that can be logged all the same. Its values are few: it may be a metric label.
type Oddity string

const (
	// OddLong is an id or a type of more than 255 bytes.
	OddLong Oddity = "long"
	// OddAccount is an account, or the context of a thin event, that names no account.
	OddAccount Oddity = "account"
	// OddCreated is a creation time that is neither unix seconds nor, as in thin events, RFC 3339.
	OddCreated Oddity = "created"
	// OddLivemode is a livemode that is absent or no boolean.
	OddLivemode Oddity = "livemode"
	// OddCustomer is a customer that is neither absent, null, an id nor an object with an id.
	OddCustomer Oddity = "customer"
	// OddData is a data, data.object or related_object that is not an object.
	OddData Oddity = "data"
)

// Oddities are all of them.
var Oddities = [...]Oddity{OddLong, OddAccount, OddCreated, OddLivemode, OddCustomer, OddData}

// Envelope is what is read from an event's body.
type Envelope struct {
	// ID is the event's id (evt_…) and Type its type, never empty.
	ID   string
	Type string
	// Account is the connected account (acct_…) that the event comes from, "" for one's own.
	Account string
	// Customer is the customer that the event may have changed, "" where it names none.
	Customer string
	// Created is the time of the event in unix seconds, 0 where it is absent. Stripe's clock for events has a resolution
	// of one second: nothing may be ordered by it.
	Created  int64
	Livemode bool
	// CustomerAccount says that the event names no customer but, in customer_account, an account that takes
	// the place of one (Stripe's Accounts v2). The pinned API version cannot list subscriptions by it.
	CustomerAccount bool
	// Odd is the first thing found wrong, "" for nothing.
	Odd Oddity
}

// Mode is the mode of the event.
func (e *Envelope) Mode() entitlement.Mode { return entitlement.ModeOf(e.Livemode) }

// Owner is the customer that the event is logged under; its ID is "" where the event names none.
func (e *Envelope) Owner() Customer {
	return Customer{Mode: e.Mode(), Account: e.Account, ID: e.Customer}
}

// Parse reads the envelope of an event from its body in one pass, without decoding the rest. It accepts what
// encoding/json accepts; of a repeated key the last one counts, and the order of keys means nothing.
//
// The customer is, in this order:
//   - data.object.id, where data.object.object is "customer";
//   - data.object.customer, as an id or as an object with one;
//   - data.previous_attributes.customer (payment_method.detached: the method no longer has a customer);
//   - data.object.owner.customer (customer.tax_id.*);
//   - related_object.id of a thin event, where related_object.type is "customer".
//
// An odd event is still an event. But one whose customer, account or livemode is there and cannot be read names no
// customer, so that it never marks somebody else's. An absent livemode is odd too, and means test mode, as
// false does.
//
// The only error is [ErrNotEvent], with what is missing.
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

// reader takes values from a scanned document.
type reader struct {
	scanner
	odd Oddity
	// doubt says that it is not certain whose customer the event names.
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

// raw is the document's text of a value, nil for an absent one.
func (r *reader) raw(s slot) []byte { return r.doc[r.found[s].from:r.found[s].to] }

// first is the first byte of a value, which tells its kind; null and absent values are both 'n'.
func (r *reader) first(s slot) byte {
	if raw := r.raw(s); len(raw) > 0 {
		return raw[0]
	}
	return 'n'
}

// str is the string in a slot, "" for anything else.
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

// maxID is the length in bytes up to which an id or a type is used as it is. Stripe's are some 30. A NATS server takes
// 4,096 bytes of subject and sizes, and the three parts of a subject may grow threefold by escaping.
const maxID = 255

// short replaces the end of an overlong event id or type by a digest: it stays distinct.
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

// reference is the customer in a slot: an id, or an object with one, expanded.
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
