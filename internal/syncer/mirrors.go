package syncer

import (
	"context"

	"entitled/internal/mirror"
)

// keepMirrors looks after the copies of the buckets that apps read, where they have an account of their own; of both modes, so that
// a mode whose syncers are stopped keeps its copy.
func (s *Syncer) keepMirrors(ctx context.Context) {
	k := mirror.Keeper{
		NATS: s.nc,
		Log:  s.log,
		Acted: func(bucket string, a mirror.Action) {
			s.metrics.mirrors.WithLabelValues(bucket, string(a)).Inc()
		},
		Looked: func(bucket string, behind uint64) {
			s.metrics.mirrorBehind.WithLabelValues(bucket).Set(float64(behind))
		},
	}
	if err := k.Run(ctx); err != nil {
		s.log.Error("the copies of the buckets for apps are not looked after", "err", err)
	}
}
