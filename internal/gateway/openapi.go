package gateway

import _ "embed"

// openAPI describes the routes. A test compares the answers with it.
//
//go:embed openapi.json
var openAPI []byte
