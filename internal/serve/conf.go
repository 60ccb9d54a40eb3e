package serve

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"entitled"
)

const confHead = `# NATS of entitled serve, which reads this file at each start and does not change it. Without serve:
#
#     nats-server -c %s
#
# and ingest, syncer and gateway, each with its user and password below. It listens on loopback only. Before it listens
# elsewhere, enable TLS unless the network is private. NATS server 2.14 or newer.

`

// natsConf is the shipped nats.conf for a directory: with the store in it, and without the monitoring
// port, which nothing here needs.
func natsConf(dir string) string {
	_, text, _ := strings.Cut(entitled.NATSConf, "\nlisten:")
	text = strings.NewReplacer(
		"\nhttp:", "\n# http:",
		"  # Relative to where the server is started. (The flag -sd does not override it: the server then reports a "+
			"duplicate.)\n", "",
		`store_dir: "./data/nats"`, "store_dir: "+strconv.Quote(filepath.Join(dir, storeDir)),
	).Replace(text)
	return fmt.Sprintf(confHead, filepath.Join(dir, confFile)) + "listen:" + text
}

var passwordNames = regexp.MustCompile(`(?m)^(\w+_PASSWORD):`)

// passwords is a nats-passwords.conf with random passwords for the names of the shipped one.
func passwords() string {
	var b strings.Builder
	b.WriteString("# The passwords of the users of nats.conf. To change one, stop serve first.\n\n")
	for _, m := range passwordNames.FindAllStringSubmatch(entitled.NATSPasswords, -1) {
		fmt.Fprintf(&b, "%s: %q\n", m[1], random())
	}
	return b.String()
}
