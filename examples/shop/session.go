package shop

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
)

// A user is somebody who may log in. ID is the shop's own id, which the customer in Stripe gets as metadata.
type user struct{ ID, Name, Email string }

// known are users to choose from. A real shop has a table and passwords.
var known = []user{
	{"ada", "Ada", "ada@example.com"},
	{"grace", "Grace", "grace@example.com"},
	{"linus", "Linus", "linus@example.com"},
}

func knownUser(id string) (user, bool) {
	for _, u := range known {
		if u.ID == id {
			return u, true
		}
	}
	return user{}, false
}

// newUser makes a user with an id of its own.
func newUser(name string) user {
	id := "user_" + strings.ToLower(rand.Text()[:12])
	return user{id, name, id + "@example.com"}
}

const sessionCookie = "shop_session"

// mostSessions bounds the sessions in memory. Beyond it, a new session ends an arbitrary other one.
const mostSessions = 10_000

// sessions are the users that are logged in, by the secret in their cookie.
type sessions struct {
	mu   sync.Mutex // guards open
	open map[string]user
}

// begin logs a user in.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, u user) {
	s.end(w, r)
	secret := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]user{}
	}
	for old := range s.open {
		if len(s.open) < mostSessions {
			break
		}
		delete(s.open, old)
	}
	s.open[secret] = u
	// Behind https, set Secure too, and begin the name with __Host-.
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: secret, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode})
}

// of returns the user of a request.
func (s *sessions) of(r *http.Request) (user, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return user{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.open[c.Value]
	return u, ok
}

// end logs the user of a request out.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1})
}
