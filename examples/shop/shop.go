package shop

import (
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed templates static
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*.html"))

// A Config is what a shop needs.
type Config struct {
	// URL is where browsers reach the shop, such as http://127.0.0.1:8095. The gateway must have it among its
	// GATEWAY_ORIGINS.
	URL string
	// Gateway is the gateway's address, and Key one of its server keys. The key never reaches a browser.
	Gateway, Key string
	// Log takes what went wrong.
	Log *slog.Logger
}

// A shop is the app. Which plan a user has is not kept here: the gateway knows.
type shop struct {
	Config
	gateway  gateway
	sessions sessions
}

// New returns the shop.
func New(c Config) http.Handler {
	s := &shop{Config: c, gateway: gateway{c.Gateway, c.Key, &http.Client{Timeout: 30 * time.Second}}}
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(files))
	mux.HandleFunc("GET /{$}", s.users)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	for route, page := range map[string]page{
		"GET /pricing": s.pricing, "POST /buy": s.buy, "GET /success": s.success, "GET /app": s.app,
		"GET /account": s.account, "POST /manage": s.manage, "POST /export": s.export, "POST /token": s.token,
	} {
		mux.HandleFunc(route, s.withUser(page))
	}
	// A form of another site cannot act for the user.
	return s.safe(http.NewCrossOriginProtection().Handler(mux))
}

// safe sets what the browser must refuse. There is no form-action: browsers apply it to redirects as well, and a
// purchase leads to Stripe's page.
func (s *shop) safe(next http.Handler) http.Handler {
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' " +
		origin(s.Gateway) + "; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if own, err := url.Parse(s.URL); err != nil || r.Host != own.Host {
			http.Error(w, "this shop is at "+s.URL, http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		if !strings.HasPrefix(r.URL.Path, "/static/") {
			h.Set("Cache-Control", "no-store") // pages are one user's
		}
		next.ServeHTTP(w, r)
	})
}

func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
