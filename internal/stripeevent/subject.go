package stripeevent

import (
	"fmt"
	"log/slog"
	"strings"

	"entitled/entitlement/snapshot"
)

// Customer identifies one customer: the mode, the connected account ("" for the platform's own) and
// the customer id. An ID of "" means no customer.
type Customer struct {
	Mode    snapshot.Mode
	Account string
	ID      string
}

// Key returns the customer's key in the entitlement and pace buckets.
func (c Customer) Key() string { return snapshot.Key(c.Account, c.ID) }

// String returns the customer as logs and errors write it.
func (c Customer) String() string {
	if c.Account == "" {
		return c.ID
	}
	return c.Account + "/" + c.ID
}

// LogValue makes JSON logs show String too.
func (c Customer) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Lane is a priority of markers: syncers work on [Now], for webhooks, before [Bulk], for work that
// can wait.
type Lane string

const (
	Now  Lane = "now"
	Bulk Lane = "bulk"
)

const (
	self = "self"
	none = "none"
)

// tokens returns "<mode>.<acct>.<cus>", which all subjects of a customer share.
func (c Customer) tokens() string {
	return string(c.Mode) + "." + idToken(c.Account, self) + "." + idToken(c.ID, none)
}

// idToken returns an id as one subject token, absent for "". An id equal to the absent word is
// escaped in its first byte, so that no id can be mistaken for it.
func idToken(id, absent string) string {
	switch id {
	case "":
		return absent
	case absent:
		return fmt.Sprintf("=%02X%s", id[0], id[1:])
	}
	return snapshot.Key("", id)
}

func tokenID(token, absent string) (string, error) {
	if token == absent {
		return "", nil
	}
	if token == fmt.Sprintf("=%02X%s", absent[0], absent[1:]) {
		return absent, nil
	}
	_, id, err := snapshot.ParseKey(token)
	return id, err
}

// EventSubject returns the subject of an event of type typ in STRIPE_EVENTS.
func EventSubject(c Customer, typ string) string {
	return "stripe.event." + c.tokens() + "." + typeTokens(typ)
}

// AccountEvents returns the filter for the events of an account in a mode. It ignores the customer
// id of c.
func AccountEvents(c Customer) string {
	return "stripe.event." + string(c.Mode) + "." + idToken(c.Account, self) + ".>"
}

// plainType reports whether a type consists of lower-case letters, underscores and single dots, as
// nearly all of Stripe's types do, and needs no escaping.
func plainType(typ string) bool {
	dot := true // the first part must not be empty either
	for i := 0; i < len(typ); i++ {
		c := typ[i]
		if dot && c == '.' || c != '.' && c != '_' && !('a' <= c && c <= 'z') {
			return false
		}
		dot = c == '.'
	}
	return !dot
}

// typeTokens keeps the dots of an event type and escapes all other bytes that a token cannot have.
// Empty tokens, which NATS refuses, become "=".
func typeTokens(typ string) string {
	if plainType(typ) {
		return typ
	}
	parts := strings.Split(typ, ".")
	for i, p := range parts {
		if parts[i] = snapshot.Key("", p); p == "" {
			parts[i] = "="
		}
	}
	return strings.Join(parts, ".")
}

// EventsOf returns the filter for the customer's events.
func EventsOf(c Customer) string { return "stripe.event." + c.tokens() + ".>" }

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
		} else if _, parts[i], err = snapshot.ParseKey(p); err != nil {
			return c, "", fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return c, strings.Join(parts, "."), nil
}

// SyncSubject returns the subject of the customer's marker in a lane.
func SyncSubject(l Lane, c Customer) string {
	return "stripe.sync." + string(c.Mode) + "." + string(l) + strings.TrimPrefix(c.tokens(), string(c.Mode))
}

// OwnMarkers returns the filter for a lane's markers of the customers of the platform's own
// account.
func OwnMarkers(m snapshot.Mode, l Lane) string {
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

// WakeSubject returns the subject of the customer's wake.
func WakeSubject(c Customer) string { return "stripe.wake." + c.tokens() }

// SyncedSubject returns the subject of the customer's records.
func SyncedSubject(c Customer) string { return "stripe.synced." + c.tokens() }

// ParseSyncedSubject is the inverse of [SyncedSubject].
func ParseSyncedSubject(subject string) (Customer, error) {
	return parseWhole(subject, "stripe.synced.")
}

// CronSubject returns the subject of a job's schedule, [JobSubject] the subject on which the job
// arrives when it is due.
func CronSubject(m snapshot.Mode, name string) string {
	return "stripe.cron." + string(m) + "." + name
}

func JobSubject(m snapshot.Mode, name string) string {
	return "stripe.job." + string(m) + "." + name
}

// ServiceName returns the name of the micro service with which the syncers of a mode answer apps.
func ServiceName(m snapshot.Mode) string { return "entitled-sync-" + string(m) }

// PingSubject returns the subject on which each running syncer of a mode answers a ping.
func PingSubject(m snapshot.Mode) string { return "$SRV.PING." + ServiceName(m) }

// JobFromNothing is the body of a job's message after STRIPE_SYNC was lost. The job then also does
// the work that it otherwise leaves to the pending markers and wakes.
const JobFromNothing = `{"from":"nothing"}`

// ParkedKey returns the customer's key in the stripe_state bucket.
func ParkedKey(c Customer) string { return "parked." + c.tokens() }

// ParseParkedKey is the inverse of [ParkedKey].
func ParseParkedKey(key string) (Customer, error) {
	return parseWhole(key, "parked.")
}

// parseWhole parses a subject that ends with its customer.
func parseWhole(subject, prefix string) (Customer, error) {
	if strings.Count(subject, ".") != strings.Count(prefix, ".")+2 {
		return Customer{}, fmt.Errorf("subject %q: not %s<mode>.<acct>.<cus>", subject, prefix)
	}
	c, _, err := parse(subject, prefix)
	return c, err
}

// parse parses a customer and returns the rest of the subject.
func parse(subject, prefix string) (c Customer, rest string, err error) {
	s, ok := strings.CutPrefix(subject, prefix)
	p := strings.SplitN(s, ".", 4)
	if !ok || len(p) < 3 {
		return c, "", fmt.Errorf("subject %q: not %s<mode>.<acct>.<cus>", subject, prefix)
	}
	if c.Mode, err = snapshot.ParseMode(p[0]); err == nil {
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
