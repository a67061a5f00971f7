package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// now is every test's time.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var p256 = KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey(t testing.TB, spec KeySpec) crypto.Signer {
	t.Helper()
	key, err := GenerateKey(spec)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCA returns a key pair that parent signed, itself where parent is nil; change may alter the template.
func newCA(t testing.TB, name string, parent *KeyPair, change func(*x509.Certificate)) KeyPair {
	t.Helper()
	key := newKey(t, p256)
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	pair := KeyPair{Key: key}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.Certs[0], parent.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	pair.Certs = []*x509.Certificate{must(x509.ParseCertificate(der))}
	if parent != nil {
		pair.Certs = append(pair.Certs, parent.Certs...)
	}
	return pair
}

func newLeaf(t testing.TB, name string, parent *KeyPair) *x509.Certificate {
	t.Helper()
	return newCA(t, name, parent, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }).Certs[0]
}

// requestFor returns what a Certificate's spec leads to: the request's spec with the CSR in it.
func requestFor(t testing.TB, spec *cmapi.CertificateSpec, key crypto.Signer) *cmapi.CertificateRequestSpec {
	t.Helper()
	csr, err := NewRequest(spec, key)
	if err != nil {
		t.Fatal(err)
	}
	return &cmapi.CertificateRequestSpec{Request: csr, IsCA: spec.IsCA, Usages: spec.Usages, Duration: spec.Duration, IssuerRef: spec.IssuerRef}
}

// issue returns the certificate that ca signs for a spec.
func issue(t testing.TB, ca KeyPair, spec *cmapi.CertificateSpec, key crypto.Signer) (Bundle, bool) {
	t.Helper()
	request := requestFor(t, spec, key)
	template, err := NewTemplate(must(ParseRequest(request.Request)), request, now)
	if err != nil {
		t.Fatal(err)
	}
	shortened := ca.Shorten(template)
	bundle, err := ca.Sign(template)
	if err != nil {
		t.Fatal(err)
	}
	return bundle, shortened
}
