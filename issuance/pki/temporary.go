package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// temporaryIssuer is the name of the throw-away CA behind temporary certificates, as cert-manager calls it.
var temporaryIssuer = pkix.Name{CommonName: "cert-manager.local", SerialNumber: "1234567890"}

// Temporary returns a certificate for a spec and a key, signed by a CA that nobody has the key of any more: something for servers
// to start with until the issuer has signed.
func Temporary(spec *cmapi.CertificateSpec, key crypto.Signer, now time.Time) ([]byte, error) {
	csrPEM, err := NewRequest(spec, key)
	if err != nil {
		return nil, err
	}
	csr, err := ParseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	template, err := NewTemplate(csr, &cmapi.CertificateRequestSpec{Duration: spec.Duration, IsCA: spec.IsCA, Usages: spec.Usages}, now)
	if err != nil {
		return nil, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a throw-away CA's key: %w", err)
	}
	ca, err := create(&x509.Certificate{
		Version: 3, SerialNumber: big.NewInt(1), Subject: temporaryIssuer, PublicKey: caKey.Public(),
		NotBefore: template.NotBefore, NotAfter: template.NotAfter, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := create(template, ca, caKey)
	if err != nil {
		return nil, err
	}
	return EncodeCertificates(leaf), nil
}

func isTemporary(leaf *x509.Certificate) bool {
	return leaf.Issuer.CommonName == temporaryIssuer.CommonName && leaf.Issuer.SerialNumber == temporaryIssuer.SerialNumber
}
