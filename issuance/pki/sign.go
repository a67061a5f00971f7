package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// DefaultDuration is the lifetime of a certificate whose request names none.
const DefaultDuration = 90 * 24 * time.Hour

// NewTemplate returns the certificate that a CertificateRequest asks for, valid from now. Key usages come from the request;
// where the CSR states usages or a CA flag of its own, they must say the same.
func NewTemplate(csr *x509.CertificateRequest, request *cmapi.CertificateRequestSpec, now time.Time) (*x509.Certificate, error) {
	usages, err := ParseUsages(request.Usages, request.IsCA)
	if err != nil {
		return nil, fmt.Errorf("spec.usages: %w", err)
	}
	duration := DefaultDuration
	if request.Duration != nil {
		duration = request.Duration.Duration
	}
	if duration <= 0 {
		return nil, fmt.Errorf("spec.duration: %s is not a lifetime", duration)
	}
	t := &x509.Certificate{
		Version:    3,
		RawSubject: csr.RawSubject, Subject: csr.Subject,
		PublicKey: csr.PublicKey, PublicKeyAlgorithm: csr.PublicKeyAlgorithm,
		NotBefore: now.UTC().Truncate(time.Second), NotAfter: now.Add(duration).UTC().Truncate(time.Second),
		KeyUsage: usages.Key, ExtKeyUsage: usages.Ext,
		BasicConstraintsValid: true, IsCA: request.IsCA,
	}
	return t, copyExtensions(t, csr, usages)
}

// copyExtensions takes the SANs, and a CA's name constraints, from the CSR as they are and checks what else the CSR states against the request.
func copyExtensions(t *x509.Certificate, csr *x509.CertificateRequest, usages Usages) error {
	for _, e := range csr.Extensions {
		switch {
		case e.Id.Equal(oidSAN), e.Id.Equal(oidNameConstraints) && t.IsCA:
			t.ExtraExtensions = append(t.ExtraExtensions, e)
		case e.Id.Equal(oidNameConstraints):
			return errors.New("the CSR has name constraints, which only a CA may have: set spec.isCA")
		case e.Id.Equal(oidKeyUsage):
			bits, err := parseKeyUsageBits(e.Value)
			if err != nil {
				return err
			}
			if bits != usages.Key {
				return errors.New("the key usages in the CSR are not those of spec.usages")
			}
		case e.Id.Equal(oidExtKeyUsage):
			oids, err := parseOIDs(e.Value)
			if err != nil {
				return err
			}
			if !SameSet(oids, stringsOf(usages.oid)) {
				return errors.New("the extended key usages in the CSR are not those of spec.usages")
			}
		case e.Id.Equal(oidBasic):
			isCA, err := parseIsCA(e.Value)
			if err != nil {
				return err
			}
			if isCA != t.IsCA {
				return errors.New("the CSR's basic constraints do not agree with spec.isCA")
			}
		}
	}
	return nil
}

// KeyPair is a certificate with its issuers, leaf first, and its private key.
type KeyPair struct {
	Certs []*x509.Certificate
	Key   crypto.Signer
}

// ParseKeyPair reads a kubernetes.io/tls Secret's two entries and checks that they belong together.
func ParseKeyPair(certPEM, keyPEM []byte) (KeyPair, error) {
	certs, err := ParseCertificates(certPEM)
	if err != nil {
		return KeyPair{}, fmt.Errorf("tls.crt: %w", err)
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return KeyPair{}, fmt.Errorf("tls.key: %w", err)
	}
	if KeyIDOf(key.Public()) != KeyIDOf(certs[0].PublicKey) {
		return KeyPair{}, errors.New("tls.key is not the key of the certificate in tls.crt")
	}
	return KeyPair{Certs: certs, Key: key}, nil
}

// CheckCA tells whether a key pair may sign certificates; the error says what its owner has to change.
func (p KeyPair) CheckCA() error {
	ca := p.Certs[0]
	switch {
	case !ca.BasicConstraintsValid || !ca.IsCA:
		return errors.New("certificate is not a CA")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New(`the CA's certificate lacks the key usage "cert sign"`)
	}
	return nil
}

// CheckTime tells whether the certificate of a CA is valid now.
func (p KeyPair) CheckTime(now time.Time) error {
	ca := p.Certs[0]
	switch {
	case now.Before(ca.NotBefore):
		return fmt.Errorf("the CA's certificate is not valid before %s", ca.NotBefore.Format(time.RFC3339))
	case now.After(ca.NotAfter):
		return fmt.Errorf("the CA's certificate expired at %s: renew it", ca.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Shorten brings the end of a template forward to the CA's, and tells whether it had to.
func (p KeyPair) Shorten(template *x509.Certificate) bool {
	late := p.OutlivedBy(template)
	if late {
		template.NotAfter = p.Certs[0].NotAfter
	}
	return late
}

// OutlivedBy tells whether a template ends after the CA.
func (p KeyPair) OutlivedBy(template *x509.Certificate) bool {
	return template.NotAfter.After(p.Certs[0].NotAfter)
}

// Sign signs a template with a CA. extra certificates help to complete the chain up to the root.
func (p KeyPair) Sign(template *x509.Certificate, extra ...*x509.Certificate) (Bundle, error) {
	leaf, err := create(template, p.Certs[0], p.Key)
	if err != nil {
		return Bundle{}, err
	}
	own := slices.Concat([]*x509.Certificate{leaf}, p.Certs)
	bundle, err := NewBundle(slices.Concat(own, extra))
	if err != nil && len(extra) > 0 { // what does not belong to the CA is no reason not to sign
		bundle, err = NewBundle(own)
	}
	return bundle, err
}

// SelfSign signs a template with the key that it certifies.
func SelfSign(template *x509.Certificate, key crypto.Signer) (Bundle, error) {
	if KeyIDOf(key.Public()) != KeyIDOf(template.PublicKey) {
		return Bundle{}, errors.New("the private key is not the one that signed the request")
	}
	cert, err := create(template, template, key)
	if err != nil {
		return Bundle{}, err
	}
	text := EncodeCertificates(cert)
	return Bundle{Chain: text, CA: text}, nil
}

// create signs template; without a parent by itself.
func create(template, parent *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	if template.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		template.SignatureAlgorithm = signatureFor(key.Public())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, template.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the signed certificate: %w", err)
	}
	return cert, nil
}
