package syncer

import (
	"testing"

	"entitled/internal/natstest"
)

// With fewer tests at a time, those that wait for seconds begin late, and the last of them would wait alone.
func TestMain(m *testing.M) { natstest.MainOf(16, m) }
