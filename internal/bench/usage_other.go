//go:build !unix

package bench

import (
	"runtime"
	"time"
)

// processCPU is not known here; ratios of it are not numbers.
func processCPU() time.Duration { return 0 }

// resident is what Go has from the system, in bytes.
func resident() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
