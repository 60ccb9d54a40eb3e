package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// ParsePublicKeys reads the public keys of a file, which is PEM or a JWK set: Ed25519, and ECDSA on
// P-256.
func ParsePublicKeys(data []byte) ([]any, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseJWKS(data)
	}
	var keys []any
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("the PEM block %q is no public key", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the PEM block is no public key: %w", err)
		}
		if err := usable(key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in it, neither as PEM nor as a JWK set")
	}
	return keys, nil
}

func usable(key any) error {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return nil
		}
	}
	return fmt.Errorf("a key of type %T, or its curve, is not supported: use Ed25519, or ECDSA on P-256", key)
}

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	Use   string `json:"use"`
	X     string `json:"x"`
	Y     string `json:"y"`
	D     string `json:"d"`
}

func parseJWKS(data []byte) ([]any, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a JWK set: %w", err)
	}
	var keys []any
	for i, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		key, err := k.public()
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(set.Keys), err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key for signatures in the JWK set")
	}
	return keys, nil
}

func (k jwk) public() (any, error) {
	if k.D != "" {
		return nil, errors.New("it is a private key; the gateway needs the public one only")
	}
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	switch {
	case errX != nil || errY != nil:
		return nil, errors.New("x or y is not base64url")
	case k.Type == "OKP" && k.Curve == "Ed25519" && len(x) == ed25519.PublicKeySize:
		return ed25519.PublicKey(x), nil
	case k.Type == "EC" && k.Curve == "P-256" && len(x) == 32 && len(y) == 32:
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	}
	return nil, fmt.Errorf("kty %q with crv %q is not supported: use Ed25519, or EC with P-256", k.Type, k.Curve)
}
