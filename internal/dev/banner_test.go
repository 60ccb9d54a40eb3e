package dev

import (
	"bytes"
	"flag"
	"testing"

	"entitled/internal/daemon/daemontest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The first lines and the rest, on the usual ports.
func TestBanner(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		var first, rest bytes.Buffer
		d := newDev(config(t, &first))
		d.at = addresses{"http://127.0.0.1:8080/webhooks/stripe", "nats://127.0.0.1:4222",
			"http://127.0.0.1:8090", "http://127.0.0.1:8084", "http://127.0.0.1:8095", "http://127.0.0.1:8081/metrics"}
		d.key = "0123456789abcdef0123456789abcdef"
		suffix := "-own.txt"
		if !own {
			d.stripe, suffix = &Simulation{URL: "http://127.0.0.1:12111", run: 1}, ".txt"
		}
		d.banner()
		daemontest.Golden(t, "first"+suffix, first.String(), *update)
		d.say.Writer = &rest
		d.rest()
		daemontest.Golden(t, "rest"+suffix, rest.String(), *update)
	}
}
