package stripesim

import (
	"net/http"
	"slices"
	"strings"

	"entitled/stripesim/internal/api"
)

// Key is an API key that the simulator accepts, unless it is expired.
type Key struct {
	// Secret is the key itself: sk_test_…, rk_test_…, sk_live_… or rk_live_…. It decides the mode.
	Secret string
	// Permissions are those of a restricted key, such as "rak_subscription_read". A permission
	// ending in _write includes the one ending in _read. Nil grants all. Secret keys (sk_) always
	// have all permissions.
	Permissions []string
	// Expired makes requests with the key fail with 401 api_key_expired.
	Expired bool
}

// SetKeys replaces the accepted keys. Without any, the simulator accepts every well-formed key,
// with all permissions.
func (s *Sim) SetKeys(keys ...Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.Clone(keys)
}

// may reports whether the key has a permission.
func (k *Key) may(permission string) bool {
	if strings.HasPrefix(k.Secret, "sk_") || k.Permissions == nil {
		return true
	}
	return slices.Contains(k.Permissions, permission) ||
		slices.Contains(k.Permissions, strings.TrimSuffix(permission, "_read")+"_write")
}

// modeOf returns a key's mode; ok is false if the key has no valid prefix.
func modeOf(secret string) (live, ok bool) {
	for _, kind := range []string{"sk_", "rk_"} {
		if rest, found := strings.CutPrefix(secret, kind); found {
			if strings.HasPrefix(rest, "live_") {
				return true, true
			}
			return false, strings.HasPrefix(rest, "test_")
		}
	}
	return false, false
}

// authenticate returns the key of a request, from its Bearer or Basic authorization.
func (s *Sim) authenticate(r *http.Request) (*Key, bool, *api.Error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		secret, _, ok = r.BasicAuth()
	}
	if !ok || secret == "" {
		return nil, false, &api.Error{
			Status: http.StatusUnauthorized, Type: api.TypeInvalid,
			Message: "You did not provide an API key. You need to provide your API key in the Authorization " +
				"header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See " +
				"https://stripe.com/docs/api#authentication for details, or we can help at " +
				"https://support.stripe.com/.",
		}
	}
	live, formed := modeOf(secret)
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	if formed && len(keys) == 0 {
		return &Key{Secret: secret}, live, nil
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Secret == secret })
	if !formed || i < 0 {
		return nil, false, &api.Error{
			Status: http.StatusUnauthorized, Type: api.TypeInvalid,
			Message: "Invalid API Key provided: " + masked(secret),
		}
	}
	if keys[i].Expired {
		return nil, false, &api.Error{
			Status: http.StatusUnauthorized, Type: api.TypeInvalid, Code: "api_key_expired",
			DocURL:  "https://stripe.com/docs/error-codes/api-key-expired",
			Message: "Expired API Key provided: " + masked(secret),
		}
	}
	return &keys[i], live, nil
}

// masked hides all of a key but its kind and last four characters.
func masked(secret string) string {
	if len(secret) <= 12 {
		return strings.Repeat("*", len(secret))
	}
	return secret[:8] + strings.Repeat("*", len(secret)-12) + secret[len(secret)-4:]
}

// forbidden returns the error that names the missing permission, as Stripe's does.
func forbidden(k *Key, account, permission string) *api.Error {
	return &api.Error{
		Status: http.StatusForbidden, Type: api.TypeInvalid,
		Message: "The provided key '" + masked(k.Secret) + "' does not have the required permissions for this " +
			"endpoint on account '" + account + "'. Having the '" + permission +
			"' permission would allow this request to continue.",
	}
}

// accountInvalid returns the error for a connected account that is unknown or revoked.
func accountInvalid(k *Key, account string) *api.Error {
	return &api.Error{
		Status: http.StatusForbidden, Type: api.TypeInvalid, Code: "account_invalid",
		DocURL: "https://stripe.com/docs/error-codes/account-invalid",
		Message: "The provided key '" + masked(k.Secret) + "' does not have access to account '" + account +
			"' (or that account does not exist). Application access may have been revoked.",
	}
}
