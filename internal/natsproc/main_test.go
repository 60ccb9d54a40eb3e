package natsproc_test

import (
	"testing"

	"entitled/internal/natsproc"
	"entitled/internal/natstest"
)

func TestMain(m *testing.M) {
	natsproc.Main()
	natstest.Main(m)
}
