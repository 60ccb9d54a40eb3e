package topology

import (
	"fmt"
	"slices"
	"strings"
)

// apply is what an operator runs about all of these errors.
const apply = "`entitled topology apply`"

// DriftError says that assets are there and differ. No program changes them by itself.
type DriftError struct{ Differences []Difference }

func (e *DriftError) Error() string {
	var b strings.Builder
	inPlace, others := 0, 0
	for i, d := range e.Differences {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(d.String())
		if d.InPlace {
			inPlace++
		} else {
			others++
		}
	}
	switch {
	case slices.ContainsFunc(e.Differences, func(d Difference) bool { return d.Loses }):
		b.WriteString(": set this program as the others are (REPLICAS, EVENTS_MAX_AGE), or see what " + apply + " says")
	case others == 0:
		b.WriteString(": run " + apply + ", or set this program as the others are (REPLICAS, EVENTS_MAX_AGE)")
	case inPlace == 0:
		b.WriteString(": " + apply + " says what can be done about it")
	default:
		b.WriteString(": " + apply + " mends what it can and says what can be done about the rest")
	}
	return b.String()
}

// MissingError says that assets are not there and that this NATS user may not create them.
type MissingError struct {
	Assets []string
	// Err is the first refusal, a [*DeniedError].
	Err error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: missing, and %v: run %s as a user who may", strings.Join(e.Assets, ", "), e.Err, apply)
}

func (e *MissingError) Unwrap() error { return e.Err }

// DeniedError says that the NATS user may not send a request to JetStream's API, or may not receive its answer.
type DeniedError struct {
	// Subject of the request, without the API's prefix: STREAM.CREATE.STRIPE_EVENTS.
	Subject string
	// Err is what the server said.
	Err error
}

func (e *DeniedError) Error() string {
	what := "request"
	if strings.Contains(e.Err.Error(), "Subscription") {
		what = "receive the answer to"
	}
	return fmt.Sprintf("this NATS user may not %s $JS.API.%s: %v", what, e.Subject, e.Err)
}

func (e *DeniedError) Unwrap() error { return e.Err }

// ServerVersionError says that the NATS server is too old.
type ServerVersionError struct{ Version, URL string }

func (e *ServerVersionError) Error() string {
	return fmt.Sprintf("NATS server %s is version %s, want %d.%d or newer: upgrade it (all servers of a cluster)",
		e.URL, e.Version, oldestMajor, oldestMinor)
}

// NotAppliedError says what [Apply] could not change.
type NotAppliedError struct {
	Differences []Difference
	// Recreatable says that ApplyOptions.Recreate would mend at least one of them.
	Recreatable bool
}

// Shortens says that ApplyOptions.Shorten and Fewer would mend all of them.
func (e *NotAppliedError) Shortens() bool {
	return !slices.ContainsFunc(e.Differences, func(d Difference) bool { return !d.Loses })
}

func (e *NotAppliedError) Error() string {
	list := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		list[i] = d.String()
	}
	text := strings.Join(list, "; ")
	if e.Shortens() {
		return text + ": set REPLICAS and EVENTS_MAX_AGE: as the daemons have them, or to what is wanted if replicas, or what is older, may be removed"
	}
	if e.Recreatable {
		return text + ": `entitled topology apply --recreate` deletes and creates again what the system can rebuild; the rest cannot be rebuilt: " + ByRestore
	}
	return text + ": its content cannot be rebuilt: " + ByRestore
}

// ByRestore says how to change what cannot be changed in place and holds what cannot be rebuilt.
const ByRestore = "stop the programs, `entitled backup DIR`, remove the logs and buckets (`nats stream rm`), `entitled restore DIR`"
