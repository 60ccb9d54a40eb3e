package decision

import "entitled/entitlement"

// A Ref names a customer by its bucket key or by your own id.
type Ref struct {
	Name string
	IsID bool
}

func (r Ref) String() string {
	if r.IsID {
		return "id:" + r.Name
	}
	return "key:" + r.Name
}

// ParseRef reads the name of a customer as all readers do.
func ParseRef(s string) Ref {
	name, isID := entitlement.ParseRef(s)
	return Ref{name, isID}
}
