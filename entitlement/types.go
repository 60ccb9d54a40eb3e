package entitlement

import "entitled/entitlement/snapshot"

// The types of package [snapshot], which imports no NATS. Their fields and methods are documented
// there.
type (
	// A Snapshot is everything one Stripe customer is entitled to, from one reading of Stripe.
	Snapshot = snapshot.Snapshot
	// Cause is what led to a sync.
	Cause = snapshot.Cause
	// A Subscription is a Stripe subscription of a customer.
	Subscription = snapshot.Subscription
	// An Item is one item of a subscription.
	Item = snapshot.Item
	// PauseCollection reports that Stripe collects no payments for a subscription.
	PauseCollection = snapshot.PauseCollection
	// PaymentMethod is the part of a payment method that a settings page shows.
	PaymentMethod = snapshot.PaymentMethod
	// A Grant is one reason why a customer has features, limits or access.
	Grant = snapshot.Grant
	// A Limit is a number that a customer has, such as its seats, or [Unlimited].
	Limit = snapshot.Limit
	// A Problem is a word in Stripe's metadata, or an item, that grants nothing.
	Problem = snapshot.Problem
	// A ProblemKind says why a word grants nothing.
	ProblemKind = snapshot.ProblemKind
	// Customers are the customers that one key, or one id of yours, stands for. They answer together.
	Customers = snapshot.Customers
	// An Answer says whether a customer may use a feature, and why.
	Answer = snapshot.Answer
	// A Reason says why a customer may use a feature, or why not.
	Reason = snapshot.Reason
	// A Difference is a difference between two snapshots, see [Diff].
	Difference = snapshot.Difference
	// Mode is Stripe's livemode as a word.
	Mode = snapshot.Mode
)

// The modes: [Live] is livemode true, with real payments; [Test] is livemode false, including
// Stripe's sandboxes.
const (
	Live = snapshot.Live
	Test = snapshot.Test
)

// Schema is the snapshot schema that this package reads and writes.
const Schema = snapshot.Schema

// StatusNone is the status of a customer without subscriptions. Every other status is Stripe's own.
const StatusNone = snapshot.StatusNone

// The values of [Snapshot].Omitted, in the order in which the parts are left out.
const (
	OmittedEndedMetadata        = snapshot.OmittedEndedMetadata
	OmittedSubscriptionMetadata = snapshot.OmittedSubscriptionMetadata
	OmittedEnded                = snapshot.OmittedEnded
	OmittedMetadata             = snapshot.OmittedMetadata
	OmittedSubscriptions        = snapshot.OmittedSubscriptions
)

// The sources of a [Grant] that are not a subscription.
const (
	SourceStripe   = snapshot.SourceStripe
	SourceCustomer = snapshot.SourceCustomer
	SourceDefault  = snapshot.SourceDefault
)

// The bounds of a [Limit]: the largest number, and no bound at all.
const (
	MaxLimit  = snapshot.MaxLimit
	Unlimited = snapshot.Unlimited
)

// The reasons of an [Answer], in their order: of those that fit, the first is given.
const (
	Granted   = snapshot.Granted
	ByDefault = snapshot.ByDefault
	Ended     = snapshot.Ended
	NoFeature = snapshot.NoFeature
	NoGrant   = snapshot.NoGrant
	Deleted   = snapshot.Deleted
	Unknown   = snapshot.Unknown
)

// The kinds of a [Problem].
const (
	ProblemUnknownWord    = snapshot.ProblemUnknownWord
	ProblemUnknownPlan    = snapshot.ProblemUnknownPlan
	ProblemUnknownFeature = snapshot.ProblemUnknownFeature
	ProblemUnknownLimit   = snapshot.ProblemUnknownLimit
	ProblemBadName        = snapshot.ProblemBadName
	ProblemBadNumber      = snapshot.ProblemBadNumber
	ProblemOutOfRange     = snapshot.ProblemOutOfRange
	ProblemBadUntil       = snapshot.ProblemBadUntil
	ProblemNoQuantity     = snapshot.ProblemNoQuantity
	ProblemNoGrant        = snapshot.ProblemNoGrant
)

// ParseMode returns the mode named s. It returns an error unless s is "live" or "test".
func ParseMode(s string) (Mode, error) { return snapshot.ParseMode(s) }

// ModeOf returns [Live] for livemode true, else [Test].
func ModeOf(live bool) Mode { return snapshot.ModeOf(live) }

// Bucket returns the name of the KV bucket that holds the snapshots of a mode.
func Bucket(m Mode) string { return "entitlements_" + string(m) }

// SyncSubject returns the subject of the micro service that answers [Client.Sync].
func SyncSubject(m Mode) string { return "entitled.sync." + string(m) }

// Key returns the bucket key of a customer: the customer id for your own account (account ""), else
// the connected account's id, a dot and the customer id. Bytes outside [A-Za-z0-9_-] are written as
// =HH, so every id but the empty one makes a valid key. Stripe's own ids have no such bytes.
func Key(account, customer string) string { return snapshot.Key(account, customer) }

// ParseKey is the inverse of [Key]. It returns an error that names the offending part of a key that
// Key cannot have returned, and one for a key of more than 2,000 bytes, which no customer has.
func ParseKey(key string) (account, customer string, err error) { return snapshot.ParseKey(key) }

// ParseRef splits the argument of a reader, which names a customer by its bucket key (see [Key]) or by
// your own id. The prefixes key: and id: say which. Without one, an argument that begins as a
// customer id of Stripe does, with or without a connected account (acct_1.cus_1), is a key, and every
// other is an id. It allocates nothing.
func ParseRef(ref string) (name string, isID bool) { return snapshot.ParseRef(ref) }

// Decode decodes a bucket entry. It returns [ErrSchema] if the entry has a newer schema, and another
// error if it is not a snapshot. See [snapshot.Decode].
func Decode(data []byte) (Snapshot, error) { return snapshot.Decode(data) }

// Diff returns the differences between two snapshots, sorted by path. See [snapshot.Diff].
func Diff(prev, next *Snapshot) []Difference { return snapshot.Diff(prev, next) }
