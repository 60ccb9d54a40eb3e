package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"entitled/entitlement"
)

func TestGateways(t *testing.T) {
	t.Parallel()
	const info = `entitled_gateway_info{serves="test",version="v0.2"} 1` + "\n"
	const gauge = "# TYPE entitled_gateway_view_age_seconds gauge\nentitled_gateway_view_age_seconds "
	const current = gauge + "1.5\n"
	cfg := Config{Modes: []entitlement.Mode{entitlement.Test}, Version: "v0.2"}
	for name, row := range map[string]struct {
		ready   int
		metrics string
		state   State
		say     string
	}{
		"well":            {200, info + current, OK, "is ready, has the bucket of mode test, and is of this version"},
		"not ready":       {503, info + current, Fail, "is not ready: the reason"},
		"not read":        {503, info + gauge + "NaN\n", Fail, "is not ready: the reason"},
		"stale":           {200, info + gauge + "61\n", Fail, "last had the whole bucket 61s ago"},
		"another mode":    {200, strings.Replace(info, "test", "live", 1) + current, Fail, "serves mode live"},
		"another version": {200, strings.Replace(info, "v0.2", "v0.1", 1) + current, Warn, "is of version v0.1"},
		"not a gateway":   {200, "entitled_ready 1\n", Fail, "no gateway of this version answers there"},
		"no metrics":      {200, "<html>", Fail, "no gateway of this version answers there"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" {
				w.WriteHeader(row.ready)
				_, _ = w.Write([]byte("the reason\n"))
				return
			}
			_, _ = w.Write([]byte(row.metrics))
		}))
		cfg.Gateways = []string{srv.URL}
		list := gateways(t.Context(), cfg)
		srv.Close()
		if len(list) != 1 || list[0].State != row.state || !strings.Contains(list[0].Text, row.say) ||
			(list[0].Next == "") != (row.state == OK) {
			t.Errorf("%s: %+v", name, list)
		}
	}
	cfg.Gateways = []string{"http://127.0.0.1:1"}
	if list := gateways(t.Context(), cfg); list[0].State != Fail || strings.Count(list[0].Text, "127.0.0.1:1") > 2 {
		t.Errorf("nothing there: %+v", list)
	}
}
