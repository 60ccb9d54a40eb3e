package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/wiring"
	"entitled/internal/wiring/gatewayd"
)

// gatewayKey is the server key of every benchmark.
const gatewayKey = "a server key for benchmarks only"

// featureBody is the gateway's answer about the feature sso of a customer of [snapshots].
const featureBody = `{"feature":"sso","allowed":true,"reason":"granted"}`

const featurePath = "/v1/customers/:id/features/:feature"

// bareAnswer answers the gateway's route with a body of the same size, the least that an answer can
// cost behind Gin.
func bareAnswer() http.Handler {
	r := newGin()
	r.GET(featurePath, func(c *gin.Context) { c.Data(http.StatusOK, "application/json", []byte(featureBody)) })
	return r
}

// serveGateway runs a gateway like cmd/gateway, and returns when it has read the bucket.
func serveGateway(url string) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	check := &daemon.Checker{}
	g := gatewayd.Settings{Keys: gatewayKey, MaxStreams: "100000"}.Check(check, string(entitlement.Live))
	if err := check.Err(); err != nil {
		return "", nil, err
	}
	stop, err = serveDaemon(url, func(ctx context.Context, h wiring.Host) error { return g.Run(ctx, h, ln) })
	return ln.Addr().String(), stop, err
}

// runGateway measures answers, then streams.
func runGateway(ctx context.Context, b *bench) ([]Result, error) {
	var all children
	defer all.stop()
	srv, err := all.start(ctx, b, order{Role: roleNATS})
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(srv.addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := ensure(ctx, nc); err != nil {
		return nil, err
	}
	customers := b.pick(10_000, 100)
	if err := snapshots(ctx, nc, customers); err != nil {
		return nil, err
	}
	answers, err := b.answers(ctx, &all, srv.addr, customers)
	if err != nil {
		return nil, err
	}
	streams, err := b.streams(ctx, &all, nc, srv.addr, customers)
	if err != nil {
		return nil, err
	}
	return append(answers, streams...), nil
}

// answers compares the gateway's answers with those of Gin alone.
func (b *bench) answers(ctx context.Context, all *children, url string, customers int) ([]Result, error) {
	bare, err := all.start(ctx, b, order{Role: roleAnswer})
	if err != nil {
		return nil, err
	}
	gateway, err := all.start(ctx, b, order{Role: roleGateway, NATS: url})
	if err != nil {
		return nil, err
	}
	n := b.pick(100_000, 300)
	var rates, bares []float64
	for round := range b.Rounds + 1 {
		b.Progress(fmt.Sprintf("gateway: answers, round %d of %d", round, b.Rounds))
		took, err := questions(ctx, bare.addr, n, customers)
		if err != nil {
			return nil, fmt.Errorf("bare Gin: %w", err)
		}
		bares = append(bares, float64(n)/took.Seconds())
		if took, err = questions(ctx, gateway.addr, n, customers); err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		rates = append(rates, float64(n)/took.Seconds())
	}
	rates, bares = rates[1:], bares[1:] // without the warm-up
	return []Result{
		over("gateway: a feature ÷ bare Gin", "ratio", divide(rates, bares)).atLeast(0.6).
			of("%.0f ÷ %.0f requests/s; %d connections, a server key, %d customers", median(rates), median(bares),
				connections, customers),
	}, nil
}

// questions asks n times for a feature, over kept-alive connections. Any answer but 200 is an
// error.
func questions(ctx context.Context, addr string, n, customers int) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	var g errgroup.Group
	start := time.Now()
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		// A blocked read does not observe ctx.
		defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
		g.Go(func() error {
			answers := bufio.NewReaderSize(c, 1<<10)
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				err := question(c, "/v1/customers/"+customerID(int(i)%customers)+"/features/sso")
				if err == nil {
					err = readAnswer(answers)
				}
				if err != nil {
					cancel()
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// question sends a GET with the server key.
func question(w io.Writer, path string) error {
	var b bytes.Buffer
	b.WriteString("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + gatewayKey + "\r\n\r\n")
	_, err := w.Write(b.Bytes())
	return err
}
