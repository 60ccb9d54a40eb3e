package console

import (
	"testing"

	"entitled/internal/browsertest"
	"entitled/internal/natstest"
)

func TestMain(m *testing.M) { natstest.Main(browsertest.Around(m)) }
