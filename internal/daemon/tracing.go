package daemon

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Tracing configures the export of spans. The zero value exports none.
type Tracing struct {
	on       bool
	endpoint string // as set, "" for the default
	service  string // unless OTEL_SERVICE_NAME names another
}

// Tracing checks OpenTelemetry's variables OTEL_…, most of which the exporter reads from the
// process's environment by itself. Spans are exported if an endpoint is set
// (OTEL_EXPORTER_OTLP_ENDPOINT or …_TRACES_ENDPOINT) or OTEL_TRACES_EXPORTER is otlp. Otherwise the
// other variables are not checked, since they may be meant for another program.
func (c *Checker) Tracing(getenv func(string) string, service string) Tracing {
	exporter := getenv("OTEL_TRACES_EXPORTER")
	_, endpoint := otlp(getenv, "ENDPOINT")
	switch {
	case strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true"):
		return Tracing{}
	case exporter != "":
		c.OneOf("OTEL_TRACES_EXPORTER", exporter, "otlp", "none")
	}
	if exporter == "none" || exporter == "" && endpoint == "" {
		return Tracing{}
	}
	c.exporter(getenv)
	c.sampler(getenv)
	for _, name := range []string{
		"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE",
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	} {
		c.count(name, getenv(name))
	}
	c.pairs("OTEL_RESOURCE_ATTRIBUTES", getenv("OTEL_RESOURCE_ATTRIBUTES"))
	return Tracing{on: true, endpoint: endpoint, service: service}
}

// otlp returns the value of a variable of the exporter; the one for traces overrides the general
// one.
func otlp(getenv func(string) string, what string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_TRACES_" + what
	if value = getenv(name); value != "" {
		return name, value
	}
	name = "OTEL_EXPORTER_OTLP_" + what
	return name, getenv(name)
}

func (c *Checker) exporter(getenv func(string) string) {
	if name, v := otlp(getenv, "ENDPOINT"); v != "" {
		c.URL(name, v, "http", "https")
	}
	if name, v := otlp(getenv, "PROTOCOL"); v != "" && v != "http/protobuf" && v != "http/json" {
		c.Problem(name, strconv.Quote(v)+": not supported",
			"http/protobuf or http/json; collectors take both at port 4318")
	}
	if name, v := otlp(getenv, "COMPRESSION"); v != "" {
		c.OneOf(name, v, "gzip", "none")
	}
	name, v := otlp(getenv, "TIMEOUT")
	c.count(name, v)
	name, v = otlp(getenv, "HEADERS")
	c.pairs(name, v)
	for _, what := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		if name, v := otlp(getenv, what); v != "" {
			_, err := os.ReadFile(v)
			c.Error(name, err, "a file in PEM that this program may read")
		}
	}
}

func (c *Checker) sampler(getenv func(string) string) {
	sampler := cmp.Or(strings.ToLower(getenv("OTEL_TRACES_SAMPLER")), "parentbased_always_on")
	c.OneOf("OTEL_TRACES_SAMPLER", sampler, "always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")
	arg := getenv("OTEL_TRACES_SAMPLER_ARG")
	if arg == "" || !strings.HasSuffix(sampler, "traceidratio") {
		return
	}
	if ratio, err := strconv.ParseFloat(arg, 64); err != nil || !(0 <= ratio && ratio <= 1) {
		c.Problem("OTEL_TRACES_SAMPLER_ARG", strconv.Quote(arg)+": not a share of the traces", "a number from 0 to 1")
	}
}

// count checks a number of things or milliseconds, if set.
func (c *Checker) count(name, value string) {
	if value != "" {
		c.Int(name, value, Between(1, 1<<31-1))
	}
}

// pairs checks key=value,key=value. It shows neither, since headers contain secrets.
func (c *Checker) pairs(name, value string) {
	if value == "" {
		return
	}
	list := strings.Split(value, ",")
	for i, pair := range list {
		key, _, ok := strings.Cut(pair, "=")
		if !ok || strings.TrimSpace(key) == "" {
			c.Problem(name, fmt.Sprintf("number %d of %d is not key=value", i+1, len(list)),
				"pairs separated by commas, as in key=value,other=value")
		}
	}
}
