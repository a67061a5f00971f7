package issuer

import (
	"context"
	"crypto"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// selfSigned signs each request with the request's own key: how a root is made.
type selfSigned struct {
	spec    *cmapi.SelfSignedIssuer
	secrets Payloads
}

// Check: there is nothing that could be missing.
func (selfSigned) Check(context.Context, time.Time) (Health, error) {
	return Health{Ready: true, Reason: "IsReady"}, nil
}

func (i selfSigned) Sign(ctx context.Context, req Request) (Signed, error) {
	key, err := i.key(ctx, req)
	if err != nil {
		return Signed{}, err
	}
	template, err := pki.NewTemplate(req.CSR, req.Spec, req.Now)
	if err != nil {
		return Signed{}, failed("ErrorGenerating", "building the certificate: %s", err)
	}
	template.CRLDistributionPoints = i.spec.CRLDistributionPoints
	template.SignatureAlgorithm = req.CSR.SignatureAlgorithm
	if pki.KeyIDOf(key.Public()) != pki.KeyIDOf(req.CSR.PublicKey) {
		return Signed{}, failed("ErrorKeyMatch", "the private key in Secret %q is not the one that signed the request", req.KeySecret)
	}
	bundle, err := pki.SelfSign(template, key)
	if err != nil {
		return Signed{}, failed("ErrorSigning", "%s", err)
	}
	out := Signed{Bundle: bundle}
	if len(req.CSR.Subject.ToRDNSequence()) == 0 && len(req.CSR.RawSubject) <= 2 {
		out.BadConfig = "Certificate has an empty issuer DN, which RFC 5280 forbids and some clients refuse: set spec.commonName or spec.subject"
	}
	return out, nil
}

// key returns the request's private key: the caller's, or the one in the Secret that the request names.
func (i selfSigned) key(ctx context.Context, req Request) (crypto.Signer, error) {
	if req.Key != nil {
		return req.Key, nil
	}
	if req.KeySecret == "" {
		return nil, failed("MissingAnnotation", "annotation %s is missing: name in it the Secret with the private key that signed the request",
			cmapi.CertificateRequestPrivateKeyAnnotationKey)
	}
	name := types.NamespacedName{Namespace: req.Namespace, Name: req.KeySecret}
	data, err := i.secrets.Payload(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil, pending("MissingSecret", "Secret %s with the request's private key does not exist", name)
	}
	if err != nil {
		return nil, err
	}
	key, err := pki.ParseKey(data["tls.key"])
	if err != nil {
		return nil, pending("ErrorParsingKey", "Secret %s, tls.key: %s", name, err)
	}
	return key, nil
}
