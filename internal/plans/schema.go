package plans

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema of a document, for editors. It refuses nothing that [Parse] takes,
// and takes some of what Parse refuses: names that are not listed, and keys that occur twice.
func Schema() []byte { return slices.Clone(schema) }
