//go:build !unix

package bench

import (
	"runtime"
	"time"
)

// processCPU is unknown on this system; ratios of it are NaN.
func processCPU() time.Duration { return 0 }

// resident returns the memory that Go has from the system, in bytes.
func resident() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
