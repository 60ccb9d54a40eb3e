package topology

import (
	"fmt"
	"slices"
	"strings"
)

// apply is the command with which an operator resolves these errors.
const apply = "`entitled topology apply`"

// DriftError reports assets that differ. No program changes them by itself.
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
		b.WriteString(": use the same REPLICAS and EVENTS_MAX_AGE as the other programs, or see the output of " + apply)
	case others == 0:
		b.WriteString(": run " + apply + ", or use the same REPLICAS and EVENTS_MAX_AGE as the other programs")
	case inPlace == 0:
		b.WriteString(": " + apply + " shows how to resolve it")
	default:
		b.WriteString(": " + apply + " corrects some of it and shows how to resolve the others")
	}
	return b.String()
}

// MissingError reports assets that do not exist and that this NATS user may not create.
type MissingError struct {
	Assets []string
	// Err is the first refusal, a [*DeniedError].
	Err error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: missing, and %v: run %s as a user that may", strings.Join(e.Assets, ", "), e.Err, apply)
}

func (e *MissingError) Unwrap() error { return e.Err }

// DeniedError reports that the NATS user may not send a request to JetStream's API, or may not
// receive its answer.
type DeniedError struct {
	// Subject is the request's subject without the API's prefix: STREAM.CREATE.STRIPE_EVENTS.
	Subject string
	// Err is the server's error.
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

// ServerVersionError reports that the NATS server is too old.
type ServerVersionError struct{ Version, URL string }

func (e *ServerVersionError) Error() string {
	return fmt.Sprintf("NATS server %s is version %s, want %d.%d or newer: upgrade it (all servers of a cluster)",
		e.URL, e.Version, oldestMajor, oldestMinor)
}

// NotAppliedError lists the differences that [Apply] could not correct.
type NotAppliedError struct {
	Differences []Difference
	// Recreatable reports that ApplyOptions.Recreate would correct at least one of them.
	Recreatable bool
}

// Shortens reports that ApplyOptions.Shorten and Fewer would correct all of them.
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
		return text +
			": set REPLICAS and EVENTS_MAX_AGE as the daemons have them, or confirm that replicas or older messages " +
			"may be removed"
	}
	if e.Recreatable {
		return text +
			": `entitled topology apply --recreate` deletes and recreates what the system can rebuild; the others " +
			"cannot be rebuilt: " + ByRestore
	}
	return text + ": its content cannot be rebuilt: " + ByRestore
}

// ByRestore says how to change an asset that cannot be changed in place and whose content cannot be
// rebuilt.
const ByRestore = "stop the programs, `entitled backup DIR`, remove the logs and buckets (`nats stream rm`), " +
	"`entitled restore DIR`"
