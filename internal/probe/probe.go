// Package probe asks a gateway's admin listener how the gateway is.
//
// A gateway has a user in the account of the apps, where `entitled doctor` cannot reach it over
// NATS, so this package asks over HTTP.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"entitled/entitlement"
)

// A Health is what a gateway says about itself.
type Health struct {
	// NotReady is the answer of /readyz if it is not 200.
	NotReady string
	Mode     entitlement.Mode
	Version  string
	// Age is how old the gateway's view of the bucket may be. Read reports that it has one.
	Age  time.Duration
	Read bool
}

// within bounds each request.
const within = 5 * time.Second

// maxAnswer is the size of the largest answer that is read.
const maxAnswer = 1 << 20

// Ask asks the admin listener at a URL.
func Ask(ctx context.Context, admin string) (Health, error) {
	var h Health
	status, body, err := get(ctx, admin, "/readyz")
	if err != nil {
		return h, err
	}
	if status != http.StatusOK {
		h.NotReady = strings.TrimSpace(body)
	}
	if status, body, err = get(ctx, admin, "/metrics"); err != nil {
		return h, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if status != http.StatusOK || err != nil || families["entitled_gateway_info"] == nil {
		return h, errors.New("no gateway of this version answers there")
	}
	h.Mode = entitlement.Mode(label(families["entitled_gateway_info"], "serves"))
	h.Version = label(families["entitled_gateway_info"], "version")
	if m := families["entitled_gateway_view_age_seconds"].GetMetric(); len(m) > 0 {
		age := m[0].GetGauge().GetValue()
		if h.Read = age == age; h.Read { // it is NaN before
			h.Age = time.Duration(age * float64(time.Second))
		}
	}
	return h, nil
}

func label(f *dto.MetricFamily, name string) string {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				return l.GetValue()
			}
		}
	}
	return ""
}

func get(ctx context.Context, admin, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+path, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", errors.Unwrap(err) // without the URL, which the caller names
	}
	defer res.Body.Close() //nolint:errcheck // read to its end, or abandoned
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", path, err)
	}
	return res.StatusCode, string(data), nil
}
