package syncer

import (
	"context"

	"entitled/internal/mirror"
)

// keepMirrors keeps the mirrors, if apps have a NATS account of their own. It keeps those of both
// modes, so that a mode whose syncers are stopped keeps its mirror.
func (s *Syncer) keepMirrors(ctx context.Context) {
	k := mirror.Keeper{
		NATS: s.nc, Log: s.log,
		Acted:  func(bucket string, a mirror.Action) { s.metrics.mirrors.WithLabelValues(bucket, string(a)).Inc() },
		Looked: func(bucket string, n uint64) { s.metrics.mirrorBehind.WithLabelValues(bucket).Set(float64(n)) },
	}
	if err := k.Run(ctx); err != nil {
		s.log.Error("mirrors are not kept up to date", "err", err)
	}
}
