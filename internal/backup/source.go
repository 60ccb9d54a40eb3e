package backup

import (
	"strings"

	"entitled/entitlement"
	"entitled/internal/topology"
)

// A source is a stream to back up.
type source struct {
	// stream is its name; bucket is the name of its bucket, "" for a log.
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

// sources returns the streams in the order in which they are taken.
func sources() []source {
	return []source{
		bucket(topology.StateBucket),
		log(topology.SyncedStream),
		bucket(entitlement.Bucket(entitlement.Live)),
		bucket(entitlement.Bucket(entitlement.Test)),
		bucket(topology.PlansBucket),
		log(topology.EventsStream),
	}
}

// leftOut reports whether a backup omits an entry of stripe_state, because it describes a fleet, a
// sweep or a log that does not exist after the restore.
func leftOut(key string) bool {
	p := strings.Split(key, ".")
	switch {
	case p[0] == "budget", p[0] == "relief", p[0] == "backfill", strings.HasPrefix(p[0], "backfill-"):
		return true
	}
	// The cursor of coverage, which must begin from nothing.
	return len(p) == 3 && p[0] == "cursor" && p[2] == "coverage"
}
