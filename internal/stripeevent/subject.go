package stripeevent

import (
	"fmt"
	"log/slog"
	"strings"

	"entitled/entitlement"
)

// Customer names one customer: the mode, the connected account it belongs to ("" for one's own) and its id.
// An ID of "" stands for no customer.
type Customer struct {
	Mode    entitlement.Mode
	Account string
	ID      string
}

// Key is the customer's key in the entitlement, pace and parked buckets.
func (c Customer) Key() string { return entitlement.Key(c.Account, c.ID) }

// String is for logs and errors.
func (c Customer) String() string {
	if c.Account == "" {
		return c.ID
	}
	return c.Account + "/" + c.ID
}

// LogValue is String, for logs in JSON too.
func (c Customer) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Lane orders the work of syncers: what webhooks and people wait for goes before what can wait.
type Lane string

const (
	Now  Lane = "now"
	Bulk Lane = "bulk"
)

const (
	self = "self"
	none = "none"
)

// tokens is "<mode>.<acct>.<cus>", the part that all subjects of a customer share.
func (c Customer) tokens() string {
	return string(c.Mode) + "." + idToken(c.Account, self) + "." + idToken(c.ID, none)
}

// idToken writes an id as one subject token, "" as absent. An id that reads like the absent word is escaped
// in its first byte, so that no id can pose as it.
func idToken(id, absent string) string {
	switch id {
	case "":
		return absent
	case absent:
		return fmt.Sprintf("=%02X%s", id[0], id[1:])
	}
	return entitlement.Key("", id)
}

func tokenID(token, absent string) (string, error) {
	if token == absent {
		return "", nil
	}
	if token == fmt.Sprintf("=%02X%s", absent[0], absent[1:]) {
		return absent, nil
	}
	_, id, err := entitlement.ParseKey(token)
	return id, err
}

// EventSubject is where an event of type typ is logged.
func EventSubject(c Customer, typ string) string {
	return "stripe.event." + c.tokens() + "." + typeTokens(typ)
}

// AccountEvents covers the events of an account in a mode; the customer in c does not matter.
func AccountEvents(c Customer) string {
	return "stripe.event." + string(c.Mode) + "." + idToken(c.Account, self) + ".>"
}

// plainType reports whether a type is made of lower-case letters and single dots, as nearly all of Stripe's are: it is
// its own tokens.
func plainType(typ string) bool {
	dot := true // as if behind one: the first part must not be empty either
	for i := 0; i < len(typ); i++ {
		c := typ[i]
		if dot && c == '.' || c != '.' && c != '_' && !('a' <= c && c <= 'z') {
			return false
		}
		dot = c == '.'
	}
	return !dot
}

// typeTokens keeps the dots of an event type and escapes what else is not a token byte. Empty tokens, which
// NATS refuses, become "=".
func typeTokens(typ string) string {
	if plainType(typ) {
		return typ
	}
	parts := strings.Split(typ, ".")
	for i, p := range parts {
		if parts[i] = entitlement.Key("", p); p == "" {
			parts[i] = "="
		}
	}
	return strings.Join(parts, ".")
}

// ParseEventSubject is the inverse of [EventSubject].
func ParseEventSubject(subject string) (c Customer, typ string, err error) {
	c, rest, err := parse(subject, "stripe.event.")
	if err != nil {
		return c, "", err
	}
	parts := strings.Split(rest, ".")
	for i, p := range parts {
		if p == "=" {
			parts[i] = ""
		} else if _, parts[i], err = entitlement.ParseKey(p); err != nil {
			return c, "", fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return c, strings.Join(parts, "."), nil
}

// SyncSubject is where the customer's marker of a lane waits.
func SyncSubject(l Lane, c Customer) string {
	return "stripe.sync." + string(c.Mode) + "." + string(l) + strings.TrimPrefix(c.tokens(), string(c.Mode))
}

// OwnMarkers covers the markers of a lane of one's own account's customers.
func OwnMarkers(m entitlement.Mode, l Lane) string {
	return "stripe.sync." + string(m) + "." + string(l) + "." + self + ".>"
}

// ParseSyncSubject is the inverse of [SyncSubject].
func ParseSyncSubject(subject string) (Lane, Customer, error) {
	rest, ok := strings.CutPrefix(subject, "stripe.sync.")
	if p := strings.Split(rest, "."); ok && len(p) == 4 && (Lane(p[1]) == Now || Lane(p[1]) == Bulk) {
		c, err := parseWhole("stripe.sync."+p[0]+"."+p[2]+"."+p[3], "stripe.sync.")
		return Lane(p[1]), c, err
	}
	return "", Customer{}, fmt.Errorf("subject %q: not stripe.sync.<mode>.<lane>.<acct>.<cus>", subject)
}

// WakeSubject holds the customer's scheduled next check.
func WakeSubject(c Customer) string { return "stripe.wake." + c.tokens() }

// ParseWakeSubject is the inverse of [WakeSubject].
func ParseWakeSubject(subject string) (Customer, error) {
	return parseWhole(subject, "stripe.wake.")
}

// SyncedSubject is where the customer's sync records are kept.
func SyncedSubject(c Customer) string { return "stripe.synced." + c.tokens() }

// ParseSyncedSubject is the inverse of [SyncedSubject].
func ParseSyncedSubject(subject string) (Customer, error) {
	return parseWhole(subject, "stripe.synced.")
}

// CronSubject holds the schedule of a job, JobSubject receives it when it is due.
func CronSubject(m entitlement.Mode, name string) string {
	return "stripe.cron." + string(m) + "." + name
}

func JobSubject(m entitlement.Mode, name string) string {
	return "stripe.job." + string(m) + "." + name
}

// JobFromNothing is the body of a job's message after STRIPE_SYNC was lost: the job then also does what it otherwise leaves to
// what STRIPE_SYNC holds.
const JobFromNothing = `{"from":"nothing"}`

// ParkedKey is the customer's key in the stripe_state bucket.
func ParkedKey(c Customer) string { return "parked." + c.tokens() }

// ParseParkedKey is the inverse of [ParkedKey].
func ParseParkedKey(key string) (Customer, error) {
	return parseWhole(key, "parked.")
}

// parseWhole reads a subject that ends with its customer.
func parseWhole(subject, prefix string) (Customer, error) {
	if strings.Count(subject, ".") != strings.Count(prefix, ".")+2 {
		return Customer{}, fmt.Errorf("subject %q: not %s<mode>.<acct>.<cus>", subject, prefix)
	}
	c, _, err := parse(subject, prefix)
	return c, err
}

// parse reads a customer and returns what is behind it.
func parse(subject, prefix string) (c Customer, rest string, err error) {
	s, ok := strings.CutPrefix(subject, prefix)
	p := strings.SplitN(s, ".", 4)
	if !ok || len(p) < 3 {
		return c, "", fmt.Errorf("subject %q: not %s<mode>.<acct>.<cus>", subject, prefix)
	}
	if c.Mode, err = entitlement.ParseMode(p[0]); err == nil {
		if c.Account, err = tokenID(p[1], self); err == nil {
			c.ID, err = tokenID(p[2], none)
		}
	}
	if err != nil {
		return Customer{}, "", fmt.Errorf("subject %q: %w", subject, err)
	}
	if len(p) == 4 {
		rest = p[3]
	}
	return c, rest, nil
}
