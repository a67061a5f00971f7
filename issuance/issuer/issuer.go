package issuer

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Issuer signs requests.
type Issuer interface {
	// Check tells whether the issuer can sign now. An error is one of the API's, worth a retry.
	Check(ctx context.Context, now time.Time) (Health, error)
	// Sign signs an approved request. An error is a *Problem, or one of the API's, worth a retry.
	Sign(ctx context.Context, req Request) (Signed, error)
}

// Health is what an Issuer's Ready condition says.
type Health struct {
	Ready           bool
	Reason, Message string
	// Recheck is when time alone may change the answer; zero for never.
	Recheck time.Time
}

// Request is an approved CertificateRequest, its CSR decoded and verified.
type Request struct {
	Namespace string
	Spec      *cmapi.CertificateRequestSpec
	CSR       *x509.CertificateRequest
	// KeySecret names the Secret with the private key behind the CSR, and Key is that key where the caller holds it. Only
	// self-signing needs one of them.
	KeySecret string
	Key       crypto.Signer
	Now       time.Time
}

// Signed is an issuer's answer. Note is something that its receiver has to know, such as a lifetime cut short, and BadConfig a
// questionable wish that was granted; both are usually empty.
type Signed struct {
	pki.Bundle
	Note, BadConfig string
}

// Problem is why a request was not signed, as its Ready condition says it. A pending one is tried again when what it waits
// for has changed; any other is final.
type Problem struct {
	Reason, Message string
	Pending         bool
}

func (p *Problem) Error() string { return p.Message }

// Payloads reads the data of a Secret as it is now.
type Payloads interface {
	Payload(ctx context.Context, key types.NamespacedName) (map[string][]byte, error)
}

// Lifetime says how a CA's own lifetime limits what it signs.
type Lifetime int

const (
	// Kept is the default: what is signed ends with the CA at the latest, and a CA signs only while it is valid.
	Kept Lifetime = iota
	// Outlived lets what is signed end after the CA, which still signs only while it is valid.
	Outlived
	// Ignored is what cert-manager does: a CA signs anything at any time.
	Ignored
)

// New returns the issuer for a spec; its Secrets lie in namespace. For a type that this version does not serve, or a spec with
// no type, the error is a pending *Problem.
func New(spec *cmapi.IssuerSpec, namespace string, secrets Payloads, lifetime Lifetime) (Issuer, error) {
	switch {
	case spec.SelfSigned != nil:
		return selfSigned{spec: spec.SelfSigned, secrets: secrets}, nil
	case spec.CA != nil:
		return ca{spec: spec.CA, namespace: namespace, secrets: secrets, lifetime: lifetime}, nil
	case spec.ACME != nil:
		return nil, unsupported("acme")
	case spec.Vault != nil:
		return nil, unsupported("vault")
	case spec.Venafi != nil:
		return nil, unsupported("venafi")
	}
	return nil, &Problem{Reason: "IssuerTypeMissing", Message: "the issuer's spec names no type: set one of selfSigned or ca", Pending: true}
}

func unsupported(kind string) error {
	return &Problem{
		Reason:  "IssuerTypeNotSupported",
		Message: fmt.Sprintf("issuers of type %s are not served by this version of trustglass: use selfSigned or ca", kind),
		Pending: true,
	}
}

func failed(reason, format string, args ...any) error {
	return &Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func pending(reason, format string, args ...any) error {
	return &Problem{Reason: reason, Message: fmt.Sprintf(format, args...), Pending: true}
}

// loadKeyPair reads a Secret's tls.crt and tls.key. A Secret that is absent or no key pair gives a pending *Problem.
func loadKeyPair(ctx context.Context, secrets Payloads, key types.NamespacedName) (pki.KeyPair, map[string][]byte, error) {
	data, err := secrets.Payload(ctx, key)
	if apierrors.IsNotFound(err) {
		return pki.KeyPair{}, nil, pending("SecretMissing", "Secret %s does not exist: create it with tls.crt and tls.key", key)
	}
	if err != nil {
		return pki.KeyPair{}, nil, err
	}
	pair, err := pki.ParseKeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		return pki.KeyPair{}, nil, pending("SecretInvalidData", "Secret %s holds no usable key pair: %s", key, err)
	}
	return pair, data, nil
}

// asProblem tells a Problem from an error of the API.
func asProblem(err error) (*Problem, bool) {
	var p *Problem
	ok := errors.As(err, &p)
	return p, ok
}
