package issuer

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// ca signs with the key pair in a Secret.
type ca struct {
	spec      *cmapi.CAIssuer
	namespace string
	secrets   Payloads
	lifetime  Lifetime
}

func (i ca) secret() types.NamespacedName {
	return types.NamespacedName{Namespace: i.namespace, Name: i.spec.SecretName}
}

// Check reads the key pair and tells whether it is a CA's, belongs together and is valid now.
func (i ca) Check(ctx context.Context, now time.Time) (Health, error) {
	pair, _, err := loadKeyPair(ctx, i.secrets, i.secret())
	if p, ok := asProblem(err); ok {
		reason := "ErrInvalidKeyPair"
		if p.Reason == "SecretMissing" {
			reason = "ErrGetKeyPair"
		}
		return Health{Reason: reason, Message: p.Message}, nil
	}
	if err != nil {
		return Health{}, err
	}
	leaf := pair.Certs[0]
	err = i.maySign(pair, now)
	if err == nil {
		_, err = pki.NewBundle(pair.Certs)
	}
	if err != nil {
		h := Health{Reason: "ErrInvalidKeyPair", Message: fmt.Sprintf("Secret %s can't sign: %s", i.secret(), err)}
		if now.Before(leaf.NotBefore) {
			h.Recheck = leaf.NotBefore
		}
		return h, nil
	}
	good := Health{Ready: true, Reason: "KeyPairVerified", Message: "Signing CA verified"}
	if i.lifetime != Ignored {
		good.Recheck = leaf.NotAfter.Add(time.Second)
	}
	return good, nil
}

// maySign tells whether a key pair may sign now.
func (i ca) maySign(pair pki.KeyPair, now time.Time) error {
	if err := pair.CheckCA(); err != nil || i.lifetime == Ignored {
		return err
	}
	return pair.CheckTime(now)
}

func (i ca) Sign(ctx context.Context, req Request) (Signed, error) {
	pair, data, err := loadKeyPair(ctx, i.secrets, i.secret())
	if err != nil {
		return Signed{}, err
	}
	if err := i.maySign(pair, req.Now); err != nil {
		return Signed{}, pending("SecretInvalidData", "Secret %s can't sign: %s", i.secret(), err)
	}
	template, err := pki.NewTemplate(req.CSR, req.Spec, req.Now)
	if err != nil {
		return Signed{}, failed("SigningError", "building the certificate: %s", err)
	}
	template.CRLDistributionPoints = i.spec.CRLDistributionPoints
	template.OCSPServer = i.spec.OCSPServers
	template.IssuingCertificateURL = i.spec.IssuingCertificateURLs
	late := pair.OutlivedBy(template)
	if i.lifetime == Kept {
		pair.Shorten(template)
	}
	bundle, err := pair.Sign(template, root(data["ca.crt"])...)
	if err != nil {
		return Signed{}, failed("SigningError", "signing with Secret %s: %s", i.secret(), err)
	}
	out := Signed{Bundle: bundle}
	ends := pair.Certs[0].NotAfter.UTC().Format(time.RFC3339)
	switch {
	case late && i.lifetime == Kept:
		out.Note = fmt.Sprintf("valid only until %s, when the CA in Secret %s expires: renew the CA or ask for a shorter duration", ends, i.secret())
	case late && i.lifetime == Outlived:
		out.Note = fmt.Sprintf("of use only until %s, when the CA in Secret %s expires: renew the CA or ask for a shorter duration", ends, i.secret())
	}
	return out, nil
}

// root returns the first certificate of a CA Secret's ca.crt, which completes the chain of an intermediate. What does not
// parse is no reason not to sign.
func root(caPEM []byte) []*x509.Certificate {
	certs, err := pki.ParseCertificates(caPEM)
	if err != nil {
		return nil
	}
	return certs[:1]
}
