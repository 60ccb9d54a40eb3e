package chaos

import (
	"fmt"
	"strings"
)

// A Report is the result of a run.
type Report struct {
	Seed uint64 `json:"seed"`
	// Laps is the number of laps begun; the last may not have been compared. Steps are actions of
	// customers.
	Laps      int `json:"laps"`
	Steps     int `json:"steps"`
	Customers int `json:"customers"`
	// Webhooks were sent to an ingest; Accepted events were answered 2xx.
	Webhooks int `json:"webhooks"`
	Accepted int `json:"accepted"`
	Forged   int `json:"forged"`
	// Events are in STRIPE_EVENTS, with Bytes of bodies; Recovered ones came from Stripe's list.
	Events    int `json:"events"`
	Bytes     int `json:"events_bytes"`
	Recovered int `json:"recovered"`
	// Syncs and Failed ones are records.
	Syncs  int `json:"syncs"`
	Failed int `json:"failed"`
	// Requests were sent to Stripe; Refused ones were not answered 200.
	Requests int `json:"requests"`
	Refused  int `json:"refused"`
	// The faults: of NATS, connections and daemons. Stops are daemons stopped in order. Kills,
	// Pauses and Isolations are of one or several servers of a cluster.
	Restarts   int `json:"restarts"`
	Kills      int `json:"server_kills,omitempty"`
	Pauses     int `json:"server_pauses,omitempty"`
	Isolations int `json:"server_isolations,omitempty"`
	Cuts       int `json:"cuts"`
	Crashes    int `json:"crashes"`
	Stops      int `json:"stops"`
	// Documents were applied, Reverts of them said what an earlier one did.
	Documents int `json:"documents"`
	Reverts   int `json:"reverts"`
	// Jobs and Backfills were started in addition to those due; Floods marked every customer.
	Jobs      int `json:"jobs"`
	Backfills int `json:"backfills"`
	Floods    int `json:"floods"`
	// Rebuilt counts the laps at whose end STRIPE_SYNC was emptied and rebuilt by coverage.
	Rebuilt int `json:"rebuilt"`
	// Revisions were compared with the previous one, Covered events with the records.
	Revisions int `json:"revisions"`
	Covered   int `json:"covered"`
	// Swept is the number of customers that only a sweep found wrong.
	Swept int `json:"swept"`
	// Unannounced customers changed without an event that arrived, and no sweep shows them; Parked
	// ones were refused by Stripe. Both were marked once more. Delayed ones had a marker that
	// waited longer than the run, and got a new one.
	Unannounced int `json:"unannounced"`
	Parked      int `json:"parked"`
	Delayed     int `json:"delayed"`
}

// A Line is one line of a report for people.
type Line struct {
	N    int
	What string
}

// Lines formats a report for people, without its seed and laps.
func (r Report) Lines() []Line {
	return []Line{
		{r.Steps, fmt.Sprintf("steps of %d customers", r.Customers)},
		{r.Webhooks,
			fmt.Sprintf(
				"webhooks: %d events answered 2xx, %d stored, %.1f MB, %d of these from Stripe's list; %d forged",
				r.Accepted, r.Events, float64(r.Bytes)/1e6, r.Recovered, r.Forged)},
		{r.Syncs, fmt.Sprintf("syncs, %d failed; %d requests to Stripe, %d refused", r.Failed, r.Requests, r.Refused)},
		{r.Restarts + r.Kills + r.Pauses + r.Isolations,
			fmt.Sprintf("outages of NATS: %d restarts, %d kills, %d pauses, %d cut off",
				r.Restarts, r.Kills, r.Pauses, r.Isolations)},
		{r.Cuts, "connections cut, deaf or mute"},
		{r.Crashes + r.Stops, fmt.Sprintf("daemons down, %d of them crashed", r.Crashes)},
		{r.Documents, fmt.Sprintf("plans documents applied, %d of them reverts", r.Reverts)},
		{r.Jobs + r.Backfills + r.Floods,
			fmt.Sprintf("jobs before they were due, of them %d backfills, %d reliefs; STRIPE_SYNC rebuilt %d times",
				r.Backfills, r.Floods, r.Rebuilt)},
		{r.Revisions, "revisions compared with the one before"},
		{r.Covered, "events compared with the records"},
		{r.Swept, "customers that only a sweep found"},
		{r.Unannounced + r.Parked + r.Delayed,
			fmt.Sprintf("marked again: %d without a marker or record, %d parked, %d with a sync that was put off",
				r.Unannounced, r.Parked, r.Delayed)},
	}
}

func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d laps", r.Seed, r.Laps)
	for _, l := range r.Lines() {
		fmt.Fprintf(&b, "; %d %s", l.N, l.What)
	}
	return b.String()
}
