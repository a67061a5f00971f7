package inject

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// source is where a target's CA lies, as far as can be told without reading a Secret.
type source struct {
	Ref     Ref    // a Secret or the API server; empty when there is none
	Version string // as the cache has it; empty when it has none
	Refusal *Refusal
	text    []byte // of the API server's CA
}

// CAOf returns the CA by which config knows the API server, read anew at each call; empty if it trusts what the machine does.
func CAOf(config *rest.Config) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(config.CAData) > 0 || config.CAFile == "" {
			return config.CAData, nil
		}
		text, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the API server's CA: %w", err)
		}
		return text, nil
	}
}

// locate finds the source that a target asks for and makes its events wake the target.
func (r *Reconciler) locate(ctx context.Context, target string, ask Ref) (source, error) {
	switch ask.Kind {
	case fromAPIServer:
		r.wakes.set(target)
		return r.apiServer()
	case fromCertificate:
		r.wakes.set(target, ask)
		secret, refusal, err := r.secretOf(ctx, ask)
		if err != nil || refusal != nil {
			return source{Refusal: refusal}, err
		}
		r.wakes.set(target, ask, secret)
		ask = secret
	default:
		r.wakes.set(target, ask)
	}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := r.Cache.Get(ctx, ask.NamespacedName, meta, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return source{}, fmt.Errorf("looking up %s: %w", ask, err)
	}
	return source{Ref: ask, Version: meta.ResourceVersion}, nil
}

func (r *Reconciler) apiServer() (source, error) {
	s := source{Ref: Ref{Kind: fromAPIServer}}
	if r.APIServerCA != nil {
		text, err := r.APIServerCA()
		if err != nil {
			return s, err
		}
		s.text = text
	}
	if len(s.text) == 0 {
		s.Refusal = refuse(reasonSourceNotFound, "the daemon's credentials name no CA for the API server; name the source with %s instead", annotationFromSecret)
		return s, nil
	}
	sum := sha256.Sum256(s.text)
	s.Version = hex.EncodeToString(sum[:])
	return s, nil
}

// secretOf returns the Secret of a Certificate.
func (r *Reconciler) secretOf(ctx context.Context, ask Ref) (Ref, *Refusal, error) {
	if r.WithoutCertificates {
		return Ref{}, refuse(reasonSourceNotAllowed, "Certificates are switched off as sources; use %s", annotationFromSecret), nil
	}
	var c cmapi.Certificate
	err := r.Cache.Get(ctx, ask.NamespacedName, &c, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return Ref{}, refuse(reasonSourceNotFound, "%s does not exist; create it, or correct annotation %s", ask, annotationFromCertificate), nil
	}
	if err != nil {
		return Ref{}, nil, fmt.Errorf("looking up %s: %w", ask, err)
	}
	return Ref{Kind: fromSecret, NamespacedName: types.NamespacedName{Namespace: c.Namespace, Name: c.Spec.SecretName}}, nil, nil
}

// read returns a source's CA and the version that it was read at.
func (r *Reconciler) read(ctx context.Context, ask Ref, src source) ([]*x509.Certificate, string, *Refusal, error) {
	switch {
	case src.Refusal != nil:
		return nil, src.Version, src.Refusal, nil
	case src.Ref.Kind == fromAPIServer:
		certs, refusal := parseCA("the API server's CA", src.text)
		return certs, src.Version, refusal, nil
	}
	text, version, refusal, err := r.readSecret(ctx, ask, src.Ref)
	if err != nil || refusal != nil {
		return nil, version, refusal, err
	}
	certs, refusal := parseCA(nameOf(src.Ref), text)
	return certs, version, refusal, nil
}

// nameOf names, for messages, where a Secret's CA lies.
func nameOf(secret Ref) string { return fmt.Sprintf("%s of %s", cmmeta.TLSCAKey, secret) }

// readSecret reads a Secret live and returns its ca.crt, if it agrees to be the source that the target asks for. Nothing else of
// it is kept.
func (r *Reconciler) readSecret(ctx context.Context, ask, ref Ref) (ca []byte, version string, _ *Refusal, _ error) {
	var secret corev1.Secret
	err := r.Live.Get(ctx, ref.NamespacedName, &secret)
	if apierrors.IsNotFound(err) {
		if ask.Kind == fromCertificate {
			return nil, "", refuse(reasonSourceNotFound, "%s does not exist yet; see why %s is not issued", ref, ask), nil
		}
		return nil, "", refuse(reasonSourceNotFound, "%s does not exist; create it, or correct annotation %s", ref, annotationFromSecret), nil
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	if refusal := consent(ask, ref, secret.Annotations); refusal != nil {
		return nil, secret.ResourceVersion, refusal, nil
	}
	ca, ok := secret.Data[cmmeta.TLSCAKey]
	if !ok || len(bytes.TrimSpace(ca)) == 0 {
		return nil, secret.ResourceVersion, refuse(reasonSourceInvalid,
			"%s has no %s; add it, or choose an issuer that hands its CA out (ACME does not)", ref, cmmeta.TLSCAKey), nil
	}
	return bytes.Clone(ca), secret.ResourceVersion, nil, nil
}

// consent tells whether a Secret's annotations make it the source that is asked for.
func consent(ask, secret Ref, annotations map[string]string) *Refusal {
	if ask.Kind == fromSecret {
		if annotations[annotationAllowed] == "true" {
			return nil
		}
		return refuse(reasonSourceNotAllowed, "%s does not allow its CA to be injected; annotate it with %s: \"true\"", secret, annotationAllowed)
	}
	switch owner, ok := annotations[cmapi.CertificateNameKey]; {
	case !ok:
		return refuse(reasonSourceNotAllowed, "%s is not written by %s: it has no annotation %s", secret, ask, cmapi.CertificateNameKey)
	case owner != ask.Name:
		return refuse(reasonSourceNotAllowed, "%s belongs to Certificate %.80q and not to %s; give each Certificate a Secret of its own", secret, owner, ask)
	}
	return nil
}
