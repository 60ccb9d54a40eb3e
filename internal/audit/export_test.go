package audit

import "time"

func init() { silence = 2 * time.Second } // tests do not wait for heartbeats
