// Package perch holds the contract of the HTTP interface as the binary serves
// it. Everything else is in the packages below; cmd/perch is the program.
package perch

import _ "embed"

// OpenAPI is openapi.yaml, byte for byte.
//
//go:embed openapi.yaml
var OpenAPI []byte
