package serve

import (
	"net"
	"strings"

	"entitled/internal/ingest"
	"entitled/internal/tell"
)

// banner prints addresses, files and lines to copy. It prints no secret: the output may be a log.
func (s *oneProcess) banner() {
	at := "http://" + tell.LocalAddr(s.public.Addr())
	s.Out.Titled("entitled serve", "everything in one process, "+string(s.Syncer.Mode)+" mode")
	s.Out.Row("webhooks", at+ingest.Path)
	s.Out.Row("gateway", at)
	s.Out.Row("console", "http://"+tell.LocalAddr(s.console.Addr()))
	s.Out.Row("NATS", s.nats.ClientURL())
	s.Out.Row("admin", "http://"+tell.LocalAddr(s.admin.Addr())+" with /healthz, /readyz and /metrics")
	s.Out.Row("data", s.dir.path)
	if len(s.dir.made) > 0 {
		s.Out.Row("", "made now, readable by this user only: "+strings.Join(s.dir.made, ", "))
	}
	key := "$(cat " + s.dir.file(keysFile) + ")"
	if !strings.HasPrefix(s.Gateway.Keys, "file:"+s.dir.path) {
		key = "$KEY" // one of GATEWAY_KEYS
	}
	for i, line := range tell.CurlLines(key, at, "cus_123", "access") {
		s.Out.Line([]string{"ask", "", ""}[i], line)
	}
	url := ""
	if _, port, err := net.SplitHostPort(strings.TrimPrefix(s.nats.ClientURL(), "nats://")); err == nil && port != "4222" {
		url = " --nats-url " + s.nats.ClientURL()
	}
	s.Out.Line("operate", "NATS_USER=ops NATS_PASSWORD=$(sed -n 's/^OPS_PASSWORD: \"\\(.*\\)\"$/\\1/p' "+
		s.dir.file(passwordsFile)+") "+s.Self+" doctor"+url)
}
