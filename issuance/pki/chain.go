package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// MaxChainBytes is the largest PEM text that is read as a certificate chain: ten certificates with large RSA keys, each of
// 9 500 bytes. It is cert-manager's limit.
const MaxChainBytes = 95_000

// maxChainLength bounds the work of finding the order of certificates, which tries them in pairs.
const maxChainLength = 32

// ErrNoCertificate is returned for data that holds no certificate in PEM.
var ErrNoCertificate = errors.New("no certificate in PEM form found")

// ParseCertificates reads every certificate of a PEM text, in order; blocks of other kinds are passed over.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > MaxChainBytes {
		return nil, fmt.Errorf("certificate PEM has %d bytes, more than the %d allowed", len(text), MaxChainBytes)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %d: %w", len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, ErrNoCertificate
	}
	return out, nil
}

// EncodeCertificates returns certificates as one PEM text.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		// Writing to a bytes.Buffer does not fail.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return out.Bytes()
}

// Bundle is what an issuer hands out: Chain starts with the leaf and ends below the root, CA is the topmost certificate known.
type Bundle struct {
	Chain, CA []byte
}

// NewBundle orders certificates into the one chain that they form and splits off a self-signed root. A single self-signed
// certificate is its own chain and CA; a single certificate of another issuer has no CA. It is an error when the certificates
// form no chain, or more than one.
func NewBundle(certs []*x509.Certificate) (Bundle, error) {
	chain, err := order(unique(certs))
	if err != nil {
		return Bundle{}, err
	}
	top := chain[len(chain)-1]
	switch rooted := selfSigned(top); {
	case len(chain) == 1 && !rooted:
		return Bundle{Chain: EncodeCertificates(top)}, nil
	case len(chain) == 1:
		return Bundle{Chain: EncodeCertificates(top), CA: EncodeCertificates(top)}, nil
	case rooted:
		return Bundle{Chain: EncodeCertificates(chain[:len(chain)-1]...), CA: EncodeCertificates(top)}, nil
	}
	return Bundle{Chain: EncodeCertificates(chain...), CA: EncodeCertificates(top)}, nil
}

func unique(certs []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	seen := map[string]bool{}
	for _, c := range certs {
		if !seen[string(c.Raw)] {
			seen[string(c.Raw)] = true
			out = append(out, c)
		}
	}
	return out
}

// order sorts distinct certificates from the leaf up.
func order(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(certs) < 2 {
		if len(certs) == 0 {
			return nil, ErrNoCertificate
		}
		return certs, nil
	}
	if len(certs) > maxChainLength {
		return nil, fmt.Errorf("%d certificates are more than the %d that a chain may have", len(certs), maxChainLength)
	}
	parent := map[*x509.Certificate]*x509.Certificate{}
	children := map[*x509.Certificate]int{}
	for _, c := range certs {
		if selfSigned(c) {
			continue
		}
		for _, p := range certs {
			if p == c || !signedBy(c, p) {
				continue
			}
			if parent[c] != nil {
				return nil, fmt.Errorf("certificate %q has two issuers among the certificates given", c.Subject)
			}
			parent[c] = p
			children[p]++
		}
	}
	var leaf *x509.Certificate
	for _, c := range certs {
		if children[c] > 0 {
			continue
		}
		if leaf != nil {
			return nil, fmt.Errorf("certificates %q and %q do not belong to one chain", leaf.Subject, c.Subject)
		}
		leaf = c
	}
	var chain []*x509.Certificate
	for c := leaf; c != nil && len(chain) <= len(certs); c = parent[c] {
		chain = append(chain, c)
	}
	if len(chain) != len(certs) {
		return nil, errors.New("the certificates do not form one chain")
	}
	return chain, nil
}

// signedBy compares names and key identifiers first: verifying a signature is the expensive part.
func signedBy(c, issuer *x509.Certificate) bool {
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		return false
	}
	if len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
		return false
	}
	return c.CheckSignatureFrom(issuer) == nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
