package natstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A CA signs certificates for a test's servers and clients at 127.0.0.1.
type CA struct {
	// File is the path of the CA's certificate.
	File string
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA creates a CA with its file in dir.
func NewCA(tb testing.TB, dir string) *CA {
	tb.Helper()
	ca := &CA{File: filepath.Join(dir, "ca.pem"), tb: tb}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA of " + tb.Name()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	var der []byte
	ca.key, der = ca.sign(template, nil)
	var err error
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	ca.write(ca.File, "CERTIFICATE", der)
	return ca
}

// Issue writes a certificate and its key into dir, as <name>.pem and <name>.key, replacing existing
// files.
func (ca *CA) Issue(dir, name string) (certFile, keyFile string) {
	ca.tb.Helper()
	key, der := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.tb.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	ca.write(certFile, "CERTIFICATE", der)
	ca.write(keyFile, "PRIVATE KEY", keyDER)
	return certFile, keyFile
}

// sign creates a key and its certificate, signed by the parent, or self-signed without one.
func (ca *CA) sign(template *x509.Certificate, parent *CA) (*ecdsa.PrivateKey, []byte) {
	ca.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		ca.tb.Fatal(err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	signer, signKey := template, key
	if parent != nil {
		signer, signKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signKey)
	if err != nil {
		ca.tb.Fatal(err)
	}
	return key, der
}

func (ca *CA) write(file, kind string, der []byte) {
	ca.tb.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.tb.Fatal(err)
	}
}
