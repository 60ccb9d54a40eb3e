package gateway

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"entitled/entitlement"
	"entitled/internal/checkout"
	"entitled/internal/gateway/spans"
	"entitled/internal/token"
)

// A Config configures [New].
type Config struct {
	Mode entitlement.Mode
	// Version is that of the program, for its metrics.
	Version string
	// Keys are the server keys that may ask anything, and ReadKeys those that only read.
	Keys, ReadKeys []Key
	// TokenSecrets verify customer tokens with HS256; the first signs them.
	TokenSecrets [][]byte
	// TokenKeys are files with public keys that verify customer tokens: see [token.ParsePublicKeys]. They
	// are read again when they change.
	TokenKeys []string
	// Origins are the origins of pages that may read the answers.
	Origins []string
	// Checkout makes customers and sessions in Stripe; nil makes none.
	Checkout *checkout.Checkout
	// MaxStreams bounds the streams of all customers together.
	MaxStreams int
	// Traces creates spans; nil creates none.
	Traces trace.TracerProvider
	Log    *slog.Logger
}

// A Gateway answers requests. Use [New].
type Gateway struct {
	cfg      Config
	log      *slog.Logger
	origins  map[string]bool
	source   atomic.Pointer[Source] // nil until the bucket has been read
	verifier atomic.Pointer[token.Verifier]
	files    *token.Files
	hub      *hub
	metrics  *metrics
	trace    spans.Tracer
	handler  http.Handler
}

// New returns a gateway, which answers 503 until [Gateway.Open]. The error is that of a file of
// TokenKeys.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{cfg: cfg, log: cfg.Log, origins: map[string]bool{}, trace: spans.New(cfg.Traces)}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	for _, o := range cfg.Origins {
		g.origins[o] = true
	}
	var err error
	if g.files, err = token.OpenFiles(cfg.TokenKeys); err != nil {
		return nil, err
	}
	g.verifier.Store(token.NewVerifier(cfg.Mode, cfg.TokenSecrets, g.files.Keys()))
	g.hub = newHub(cfg.MaxStreams)
	g.metrics = newMetrics(g)
	g.handler = g.routes()
	return g, nil
}

// Open has the gateway answer from a source.
func (g *Gateway) Open(s Source) { g.source.Store(&s) }

func (g *Gateway) open() (Source, *problem) {
	if s := g.source.Load(); s != nil {
		return *s, nil
	}
	return nil, notReady
}

func (g *Gateway) document() (Document, *problem) {
	s, p := g.open()
	if p != nil {
		return Document{}, p
	}
	doc, err := s.Document()
	if err != nil {
		return Document{}, &problem{status: http.StatusServiceUnavailable, code: "no_document",
			message: "the gateway has not read the plans document yet", retryAfter: 2}
	}
	return doc, nil
}
