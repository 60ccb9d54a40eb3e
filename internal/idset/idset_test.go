package idset_test

import (
	"testing"

	"entitled/internal/idset"
)

func TestSet(t *testing.T) {
	t.Parallel()
	var none idset.Set
	if none.Has("a") || none.Len() != 0 {
		t.Error("the zero set has an id")
	}
	s := idset.New()
	s.Add("a")
	s.Add("a")
	s.Add("b")
	if !s.Has("a") || !s.Has("b") || s.Has("c") || s.Len() != 2 {
		t.Errorf("%d ids: a %t, b %t, c %t", s.Len(), s.Has("a"), s.Has("b"), s.Has("c"))
	}
}
