package issuance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// writer holds the only writes of this package. Each carries the version that its decision saw, or creates what was absent.
type writer struct {
	client  client.Client
	secrets *Secrets
	written *written
	now     func() time.Time

	identity Identity
}

// createRequest creates a Certificate's next CertificateRequest. With hold, its status is the caller's to write: Requests
// leaves it alone until then.
func (w *writer) createRequest(ctx context.Context, cert *cmapi.Certificate, csr []byte, keySecret string, copied func(string) bool, hold bool) (*cmapi.CertificateRequest, error) {
	revision := nextRevision(cert)
	annotations := map[string]string{}
	for k, v := range cert.Annotations {
		if copied(k) {
			annotations[k] = v
		}
	}
	annotations[annCertificate] = cert.Name
	annotations[annRevision] = fmt.Sprint(revision)
	annotations[annKeySecret] = keySecret
	if v, asked := cert.Annotations[annRenew]; asked {
		annotations[annRenew] = v
	}
	r := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cert.Namespace, Name: requestName(cert.Name, revision),
			Labels: cert.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*controllerRef(cert)},
		},
		Spec: requestSpec(cert, csr),
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = w.identity.Username, w.identity.UID, w.identity.Groups
	if hold {
		w.written.hold(requestID(r), w.now())
	}
	if err := w.client.Create(ctx, r, client.FieldOwner(requestFieldManager)); err != nil {
		w.written.release(requestID(r))
		return nil, fmt.Errorf("creating CertificateRequest %s: %w", r.Name, err)
	}
	if !hold {
		w.written.add(requestID(r), r.ResourceVersion, w.now())
	}
	return r, nil
}

// requestSpec is what a Certificate asks of its issuer.
func requestSpec(cert *cmapi.Certificate, csr []byte) cmapi.CertificateRequestSpec {
	return cmapi.CertificateRequestSpec{
		Duration: cert.Spec.Duration, IssuerRef: cert.Spec.IssuerRef, Request: csr, IsCA: cert.Spec.IsCA, Usages: cert.Spec.Usages,
	}
}

func controllerRef(cert *cmapi.Certificate) *metav1.OwnerReference {
	return metav1.NewControllerRef(cert, cmapi.SchemeGroupVersion.WithKind(cmapi.CertificateKind))
}

func requestID(r *cmapi.CertificateRequest) string { return "request/" + r.Namespace + "/" + r.Name }

// updateRequestStatus writes a request's status at the version that r has, which becomes the new one. Only the status travels:
// the API server takes nothing else from such an update.
func (w *writer) updateRequestStatus(ctx context.Context, r *cmapi.CertificateRequest) error {
	body := &cmapi.CertificateRequest{ObjectMeta: identity(r), Status: r.Status}
	if err := w.client.Status().Update(ctx, body, client.FieldOwner(requestFieldManager)); err != nil {
		w.written.release(requestID(r))
		return fmt.Errorf("updating the status of CertificateRequest %s/%s: %w", r.Namespace, r.Name, err)
	}
	r.ResourceVersion = body.ResourceVersion
	w.written.add(requestID(r), r.ResourceVersion, w.now())
	return nil
}

// identity is what names one version of an object.
func identity(o client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
}

// deleteRequest deletes exactly the request that the decision saw, and only once, though the cache may show it a while longer.
func (w *writer) deleteRequest(ctx context.Context, r *cmapi.CertificateRequest) error {
	deleted := "deleted/" + string(r.UID)
	if w.written.behind(deleted, "", w.now()) {
		return nil
	}
	err := w.client.Delete(ctx, r, client.Preconditions{UID: &r.UID, ResourceVersion: &r.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting CertificateRequest %s: %w", r.Name, err)
	}
	w.written.release(requestID(r))
	w.written.add(deleted, held, w.now())
	return nil
}

// createNextKey persists a private key in a labelled temporary Secret, always as PKCS #8.
func (w *writer) createNextKey(ctx context.Context, cert *cmapi.Certificate, keyPEM []byte) (*NextKey, error) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cert.Namespace, GenerateName: cert.Name[:min(len(cert.Name), maxNameLength-6)] + "-",
			Labels:          map[string]string{labelNextKey: "true", labelManaged: "true"},
			OwnerReferences: []metav1.OwnerReference{*controllerRef(cert)},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{corev1.TLSPrivateKeyKey: keyPEM},
	}
	if err := w.client.Create(ctx, s, client.FieldOwner(keyFieldManager)); err != nil {
		return nil, fmt.Errorf("creating the temporary Secret for the next private key: %w", err)
	}
	return nextKeyOf(s.Name, w.secrets.Remember(s)), nil
}

func nextKeyOf(name string, v *SecretView) *NextKey {
	return &NextKey{Name: name, UID: v.UID, ResourceVersion: v.ResourceVersion, Digest: v.Digest}
}

// deleteNextKey deletes exactly the temporary Secret that was seen.
func (w *writer) deleteNextKey(ctx context.Context, namespace string, k *NextKey) error {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: k.Name}}
	err := w.client.Delete(ctx, s, client.Preconditions{UID: &k.UID, ResourceVersion: &k.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the temporary Secret %s: %w", k.Name, err)
	}
	w.secrets.Forget(keyOf(namespace, k.Name))
	return nil
}

// material is what goes into an issued Secret.
type material struct {
	key, chain, ca []byte
	keystores      map[string][]byte
	keystoreDigest string // annKeystores; empty without keystores
}

// metadata is what we manage of a Secret's labels and annotations.
type metadata struct{ Labels, Annotations map[string]string }

// desiredMetadata returns the labels and annotations of a Certificate's Secret, those that describe the leaf apart. Which issuer
// issued it, and which wish for a renewal was the last to be served, is taken from the Secret itself.
func desiredMetadata(cert *cmapi.Certificate, secret *SecretView) metadata {
	m := metadata{Labels: map[string]string{}, Annotations: map[string]string{annCertificate: cert.Name}}
	for _, key := range []string{annIssuerName, annIssuerKind, annIssuerGroup, annRenew} {
		if v, ok := secret.Annotations.lookup(key); ok {
			m.Annotations[key] = v
		}
	}
	m.addTemplate(cert.Spec.SecretTemplate)
	return m
}

func issuedMetadata(cert *cmapi.Certificate, issuer cmmeta.IssuerReference) metadata {
	m := metadata{
		Labels: map[string]string{},
		Annotations: map[string]string{
			annCertificate: cert.Name, annIssuerName: issuer.Name, annIssuerKind: issuer.Kind, annIssuerGroup: issuer.Group,
		},
	}
	if v := cert.Annotations[annRenew]; v != "" {
		m.Annotations[annRenew] = v
	}
	m.addTemplate(cert.Spec.SecretTemplate)
	return m
}

// addTemplate adds a template's labels and annotations, and the label that no template can take away.
func (m metadata) addTemplate(t *cmapi.CertificateSecretTemplate) {
	if t != nil {
		maps.Copy(m.Labels, t.Labels)
		maps.Copy(m.Annotations, t.Annotations)
	}
	m.Labels[labelManaged] = "true"
}

// applySecret writes a Certificate's Secret in one piece and returns its view. A Secret that was seen is forced at the version
// that was seen and keeps its type; one that was not is applied at a resourceVersion that no object has, so that it is created
// or answers with a conflict.
func (w *writer) applySecret(ctx context.Context, cert *cmapi.Certificate, seen *SecretView, m metadata, data material, owned bool) (*SecretView, error) {
	config := corev1ac.Secret(cert.Spec.SecretName, cert.Namespace).
		WithType(corev1.SecretTypeTLS).
		WithLabels(m.Labels).
		WithAnnotations(m.Annotations).
		WithAnnotations(pki.LeafAnnotations(data.chain)).
		WithData(secretData(&cert.Spec, data))
	if data.keystoreDigest != "" {
		config.WithAnnotations(map[string]string{annKeystores: data.keystoreDigest})
	}
	if owned {
		ref := controllerRef(cert)
		config.WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(ref.APIVersion).WithKind(ref.Kind).
			WithName(ref.Name).WithUID(ref.UID).WithController(true).WithBlockOwnerDeletion(true))
	}
	config.WithResourceVersion(neverVersion)
	if seen != nil {
		config.WithResourceVersion(seen.ResourceVersion).WithUID(seen.UID)
		if seen.Type != "" {
			config.WithType(seen.Type)
		}
	}
	body, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encoding Secret %s: %w", cert.Spec.SecretName, err)
	}
	answer := newSecretMetadata() // the payload need not come back
	answer.Namespace, answer.Name = cert.Namespace, cert.Spec.SecretName
	if err := w.client.Patch(ctx, answer, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return nil, fmt.Errorf("applying Secret %s: %w", cert.Spec.SecretName, err)
	}
	return w.secrets.Remember(&corev1.Secret{ObjectMeta: answer.ObjectMeta, Type: ptr.Deref(config.Type, ""), Data: config.Data}), nil
}

// neverVersion is a resourceVersion that no object ever has: etcd's first revision is no write.
const neverVersion = "1"

// secretData returns a Secret's entries for a key pair.
func secretData(spec *cmapi.CertificateSpec, m material) map[string][]byte {
	data := map[string][]byte{corev1.TLSCertKey: m.chain, corev1.TLSPrivateKeyKey: m.key}
	if len(m.ca) > 0 {
		data[cmmeta.TLSCAKey] = m.ca
	}
	maps.Copy(data, m.keystores)
	formats := pki.OutputFormats(m.key, m.chain)
	der, combined := wantedFormats(spec)
	if der {
		data[cmapi.CertificateOutputFormatDERKey] = formats[cmapi.CertificateOutputFormatDERKey]
	}
	if combined {
		data[cmapi.CertificateOutputFormatCombinedPEMKey] = formats[cmapi.CertificateOutputFormatCombinedPEMKey]
	}
	return data
}

// updateStatus writes a Certificate's status, if it differs, at the version that cert has, and returns the Certificate as it
// is then.
func (w *writer) updateStatus(ctx context.Context, cert *cmapi.Certificate, status cmapi.CertificateStatus) (*cmapi.Certificate, error) {
	if sameStatus(&cert.Status, &status) {
		return cert, nil
	}
	updated := &cmapi.Certificate{ObjectMeta: identity(cert), Status: status}
	if err := w.client.Status().Update(ctx, updated, client.FieldOwner(FieldManager)); err != nil {
		return nil, fmt.Errorf("updating the status: %w", err)
	}
	w.written.add(certificateID(client.ObjectKeyFromObject(cert)), updated.ResourceVersion, w.now())
	return updated, nil
}

func certificateID(key types.NamespacedName) string { return "certificate/" + key.String() }

// updateIssuerStatus writes an issuer's status at the version that obj has.
func updateIssuerStatus(ctx context.Context, c client.Client, obj client.Object) error {
	if err := c.Status().Update(ctx, obj); err != nil {
		return fmt.Errorf("updating the status of issuer %s: %w", obj.GetName(), err)
	}
	return nil
}

// outdated tells whether a write failed because what it was decided on has changed: the change brings the object back by
// itself, so it is no failure to report.
func outdated(err error) bool { return apierrors.IsConflict(err) }

// leaving tells whether a write failed because its namespace is going, or gone: the object that it was for goes too.
func leaving(err error) bool {
	var answer apierrors.APIStatus
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		apierrors.IsNotFound(err) && errors.As(err, &answer) && answer.Status().Details != nil && answer.Status().Details.Kind == "namespaces"
}
