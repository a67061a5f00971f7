package issuance

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/pki"
)

// Signer finds the issuer of a request and has it sign. It is the one way to a signature, whoever made the request.
type Signer struct {
	Cache   client.Reader
	Secrets *Secrets
	// ClusterNamespace is where the Secrets of ClusterIssuers lie.
	ClusterNamespace string
	// Lifetime is how the lifetime of a CA limits what it signs.
	Lifetime issuer.Lifetime
}

// serves tells whether issuers of this kind are ours to sign for; others have controllers of their own.
func serves(ref cmmeta.IssuerReference) bool {
	ref = pki.WithDefaults(ref)
	return ref.Group == pki.Group && (ref.Kind == cmapi.IssuerKind || ref.Kind == cmapi.ClusterIssuerKind)
}

// Sign signs an approved request of namespace. An error is an *issuer.Problem, or one of the API's, worth a retry. keySecret and
// key are as in issuer.Request.
func (g *Signer) Sign(ctx context.Context, namespace string, spec *cmapi.CertificateRequestSpec, keySecret string, key crypto.Signer, now time.Time) (issuer.Signed, error) {
	found, err := g.find(ctx, spec.IssuerRef, namespace)
	if err != nil {
		return issuer.Signed{}, err
	}
	return sign(ctx, found, namespace, spec, keySecret, key, now)
}

// sign has an issuer sign a request once its CSR has been verified.
func sign(ctx context.Context, found issuer.Issuer, namespace string, spec *cmapi.CertificateRequestSpec, keySecret string, key crypto.Signer, now time.Time) (issuer.Signed, error) {
	csr, err := pki.ParseRequest(spec.Request)
	if err != nil {
		return issuer.Signed{}, &issuer.Problem{Reason: "RequestParsingError", Message: "spec.request: " + err.Error()}
	}
	return found.Sign(ctx, issuer.Request{Namespace: namespace, Spec: spec, CSR: csr, KeySecret: keySecret, Key: key, Now: now})
}

// find returns a ready issuer. An *issuer.Problem says why there is none.
func (g *Signer) find(ctx context.Context, ref cmmeta.IssuerReference, namespace string) (issuer.Issuer, error) {
	ref = pki.WithDefaults(ref)
	var spec *cmapi.IssuerSpec
	var status *cmapi.IssuerStatus
	var err error
	if ref.Kind == cmapi.ClusterIssuerKind {
		obj := &cmapi.ClusterIssuer{}
		err = g.Cache.Get(ctx, client.ObjectKey{Name: ref.Name}, obj)
		spec, status, namespace = &obj.Spec, &obj.Status, g.ClusterNamespace
	} else {
		obj := &cmapi.Issuer{}
		err = g.Cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, obj)
		spec, status = &obj.Spec, &obj.Status
	}
	if apierrors.IsNotFound(err) {
		return nil, &issuer.Problem{
			Reason: "IssuerNotFound", Pending: true,
			Message: fmt.Sprintf("Referenced %q not found: %s; create it or correct issuerRef", ref.Kind, err),
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", ref.Kind, ref.Name, err)
	}
	if !issuerReady(status) {
		message := "Referenced issuer does not have a Ready status condition"
		if c := issuerCondition(status); c != nil {
			message = fmt.Sprintf("Referenced issuer is not ready: %s: %s", c.Reason, c.Message)
		}
		return nil, &issuer.Problem{Reason: "IssuerNotReady", Message: message, Pending: true}
	}
	return issuer.New(spec, namespace, g.Secrets, g.Lifetime)
}

func issuerCondition(st *cmapi.IssuerStatus) *cmapi.IssuerCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == cmapi.IssuerConditionReady {
			return &st.Conditions[i]
		}
	}
	return nil
}

func issuerReady(st *cmapi.IssuerStatus) bool {
	c := issuerCondition(st)
	return c != nil && c.Status == cmmeta.ConditionTrue
}

// problemOf tells an issuer's Problem from an error of the API.
func problemOf(err error) *issuer.Problem {
	var p *issuer.Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}
