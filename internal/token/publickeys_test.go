package token

import (
	"encoding/base64"
	"encoding/pem"
	"testing"
)

func TestParsePublicKeys(t *testing.T) {
	t.Parallel()
	coordinate := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, row := range map[string]struct {
		data string
		want int // keys
	}{
		"empty":           {"", 0},
		"no key":          {"hello", 0},
		"an empty set":    {`{"keys":[]}`, 0},
		"for encryption":  {`{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"` + coordinate + `"}]}`, 0},
		"Ed25519":         {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + coordinate + `"}]}`, 1},
		"private":         {`{"keys":[{"kty":"OKP","crv":"Ed25519","d":"x","x":"` + coordinate + `"}]}`, 0},
		"not on a curve":  {`{"keys":[{"kty":"EC","crv":"P-256","x":"` + coordinate + `","y":"` + coordinate + `"}]}`, 0},
		"a secret":        {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, 0},
		"a private block": {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), 0},
	} {
		keys, err := ParsePublicKeys([]byte(row.data))
		if len(keys) != row.want || (err == nil) != (row.want > 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}
