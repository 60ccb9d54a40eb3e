package backup

import (
	"context"
	"fmt"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/repair"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// start makes the syncers fetch the changes since the backup, and check everything that does not
// follow from it. It runs before the marks are removed, so that an interrupted restore does not
// omit it.
func (r *restorer) start(ctx context.Context) error {
	modes := r.report.Modes()
	var err error
	r.report.Differ, err = topology.CreateRebuilt(ctx, r.js, topology.Options{Replicas: r.Replicas, Modes: modes})
	if err != nil {
		return err
	}
	if r.report.has(bucket(topology.StateBucket).stream) {
		state, err := r.js.KeyValue(ctx, topology.StateBucket)
		if err == nil {
			err = repair.SetRestored(ctx, state, r.report.Started)
		}
		if err != nil {
			return fmt.Errorf("note when the backup was taken: %w", err)
		}
	}
	for _, mode := range modes {
		if err := r.redrive(ctx, mode); err != nil {
			return err
		}
		// coverage and recover would start by themselves, since their schedules are missing; the
		// sweep would wait for the night.
		for _, job := range []string{"coverage", "recover", "sweep"} {
			if _, err := r.js.Publish(ctx, stripeevent.JobSubject(mode, job),
				[]byte(stripeevent.JobFromNothing)); err != nil {
				return fmt.Errorf("start job %s of mode %s: %w", job, mode, err)
			}
		}
	}
	return nil
}

// redrive marks the parked customers, since the cause of their failures may be gone.
func (r *restorer) redrive(ctx context.Context, mode entitlement.Mode) error {
	log, err := audit.Open(ctx, r.js)
	if err != nil {
		return err
	}
	parked, err := log.Parked(ctx, mode, false)
	if err != nil {
		return err
	}
	var customers audit.Customers
	for _, f := range parked {
		customers.Add(f.Customer)
	}
	n, err := log.Mark(ctx, &customers, stripeevent.Bulk, stripeevent.TriggerRedrive, nil)
	r.report.Parked += n
	return err
}
