package syncer

import (
	"testing"

	"entitled/internal/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }
