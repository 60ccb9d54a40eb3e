package topology_test

import (
	"encoding/json"
	"testing"
	"time"
)

// The servers answer requests about JetStream and health from ops, about JetStream from a syncer,
// and none from other users.
func TestWhomTheServersAnswer(t *testing.T) {
	t.Parallel()
	s := shipped(t)
	const jsz, healthz = "$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.PING.HEALTHZ"
	for user, subjects := range map[string][]string{"ops": {jsz, healthz}, "syncer": {jsz}} {
		nc := allowed(t, s, user).Conn()
		for _, subject := range subjects {
			reply, err := nc.Request(subject, nil, 30*time.Second)
			if err != nil {
				t.Errorf("%s asks %s: %v", user, subject, err)
				continue
			}
			var answer struct {
				Server struct{ ID string } `json:"server"`
			}
			if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Server.ID != s.ID() {
				t.Errorf("%s asks %s: %v in %s", user, subject, err, reply.Data)
			}
		}
	}
	for user, subjects := range map[string][]string{
		"ingest": {jsz, healthz}, "app": {jsz, healthz},
		"syncer": {healthz, "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER." + s.ID() + ".JSZ"},
	} {
		nc := s.Conn(t, as(user))
		for _, subject := range subjects {
			if err := denied(nc, func() error { return nc.Publish(subject, nil) }); err != nil {
				t.Errorf("%s publishes %s: %v", user, subject, err)
			}
		}
	}
}
