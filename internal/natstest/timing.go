package natstest

import "entitled/internal/timing"

// Timing is for syncers in tests: production's pauses at a twentieth.
var Timing = timing.Production.Divide(20)
