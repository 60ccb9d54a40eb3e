// Package entitled has the files of this directory that programs write: the configuration of NATS.
package entitled

import _ "embed"

// The configuration of nats-server, and the file with its passwords for development.
var (
	//go:embed nats.conf
	NATSConf string
	//go:embed nats-passwords.conf
	NATSPasswords string
)
