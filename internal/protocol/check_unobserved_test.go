package protocol

import (
	"context"

	"entitled/internal/record"
)

// unobserved is an observer that does nothing.
type unobserved struct{}

func (unobserved) Conflicted()                                 {}
func (unobserved) Problems()                                   {}
func (unobserved) Superseded(context.Context, Task)            {}
func (unobserved) Synced(context.Context, Task, record.Record) {}
func (unobserved) PutOff(context.Context, Task, error)         {}
func (unobserved) Failed(context.Context, Task, Settlement)    {}
