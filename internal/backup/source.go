package backup

import (
	"strings"

	"entitled/entitlement"
	"entitled/internal/topology"
)

// plansBucket holds the plans documents, on a system that has any.
const plansBucket = "entitled_plans"

// A source is a stream that a backup holds.
type source struct {
	// stream is its name, bucket the name of the bucket that it holds, "" for a log.
	stream, bucket string
}

func (s source) String() string {
	if s.bucket != "" {
		return "bucket " + s.bucket
	}
	return "stream " + s.stream
}

func log(name string) source    { return source{stream: name} }
func bucket(name string) source { return source{stream: "KV_" + name, bucket: name} }

// sources are the streams in the order in which they are taken.
func sources() []source {
	return []source{
		bucket(topology.StateBucket),
		log(topology.SyncedStream),
		bucket(entitlement.Bucket(entitlement.Live)),
		bucket(entitlement.Bucket(entitlement.Test)),
		bucket(plansBucket),
		log(topology.EventsStream),
	}
}

// leftOut reports whether a backup leaves out an entry of stripe_state: it speaks of a fleet, of a sweep or of a
// log that is no more when the backup is restored.
func leftOut(key string) bool {
	p := strings.Split(key, ".")
	switch {
	case p[0] == "budget", p[0] == "relief", p[0] == "backfill", strings.HasPrefix(p[0], "backfill-"):
		return true
	}
	// Where coverage begins; it begins from nothing.
	return len(p) == 3 && p[0] == "cursor" && p[2] == "coverage"
}
