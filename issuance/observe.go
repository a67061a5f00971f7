package issuance

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Indexes of the cache. Those by secretName and owner hold buckets: nearly every object has a value of its own there, and an entry
// for each would take more memory than looking through the few objects of a bucket takes time.
const (
	indexSecretName = "spec.secretName"
	indexOwner      = "metadata.controller"
	indexIssuer     = "issuer"
	indexKeySecret  = "keySecret"
	indexNextKey    = "nextKeyOf"
	indexCASecret   = "spec.ca.secretName"
	indexPassword   = "spec.keystores.passwordSecretRef"
)

// IndexFields registers the indexes that this package looks things up by.
func IndexFields(ctx context.Context, f client.FieldIndexer) error {
	secrets := newSecretMetadata()
	for _, i := range []struct {
		obj   client.Object
		field string
		of    client.IndexerFunc
	}{
		{&cmapi.Certificate{}, indexSecretName, func(o client.Object) []string { return []string{bucket(o.(*cmapi.Certificate).Spec.SecretName)} }},
		{&cmapi.Certificate{}, indexPassword, func(o client.Object) []string { return passwordSecrets(&o.(*cmapi.Certificate).Spec) }},
		{&cmapi.CertificateRequest{}, indexOwner, func(o client.Object) []string {
			if owner := controllerOf(o, cmapi.CertificateKind); owner != "" {
				return []string{bucket(string(owner))}
			}
			return nil
		}},
		{&cmapi.CertificateRequest{}, indexIssuer, func(o client.Object) []string {
			r := o.(*cmapi.CertificateRequest)
			return unsettled(r, issuerKey(r.Spec.IssuerRef, r.Namespace))
		}},
		{&cmapi.CertificateRequest{}, indexKeySecret, func(o client.Object) []string {
			return unsettled(o.(*cmapi.CertificateRequest), o.GetAnnotations()[annKeySecret])
		}},
		{secrets, indexNextKey, func(o client.Object) []string {
			if o.GetLabels()[labelNextKey] != "true" {
				return nil
			}
			return nonEmpty(string(controllerOf(o, cmapi.CertificateKind)))
		}},
		{&cmapi.Issuer{}, indexCASecret, func(o client.Object) []string { return caSecretOf(&o.(*cmapi.Issuer).Spec) }},
		{&cmapi.ClusterIssuer{}, indexCASecret, func(o client.Object) []string { return caSecretOf(&o.(*cmapi.ClusterIssuer).Spec) }},
	} {
		if err := f.IndexField(ctx, i.obj, i.field, i.of); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", i.obj, i.field, err)
		}
	}
	return nil
}

// Keeps tells whether this package needs a Secret's labels: those of the temporary Secrets that hold next keys. All else that it
// wants to know of a Secret it reads together with the payload.
func Keeps(secret *metav1.PartialObjectMetadata) bool { return secret.Labels[labelNextKey] == "true" }

// unsettled is an index on requests that wait: for the others, thousands, it would only take memory.
func unsettled(r *cmapi.CertificateRequest, value string) []string {
	if settled(&r.Status) {
		return nil
	}
	return nonEmpty(value)
}

// bucket returns one of 256 values for a string.
func bucket(s string) string {
	h := fnv.New32a()
	h.Write([]byte(s))
	return fmt.Sprintf("%02x", byte(h.Sum32()))
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func caSecretOf(spec *cmapi.IssuerSpec) []string {
	if spec.CA == nil {
		return nil
	}
	return nonEmpty(spec.CA.SecretName)
}

func controllerOf(o client.Object, kind string) types.UID {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil && ref.Kind == kind {
		return ref.UID
	}
	return ""
}

// observed is a State with what only carrying out needs.
type observed struct {
	State
	// heldFor is how long the Certificate is kept back after failures; then nothing else is observed.
	heldFor time.Duration
	// behind says that the cache does not have our own last write yet.
	behind bool
	// strays are temporary Secrets beyond the one in use.
	strays []*NextKey
}

// observe reads everything that a decision about a Certificate depends on; nil when there is no such Certificate.
func (r *Certificates) observe(ctx context.Context, key types.NamespacedName) (*observed, []*Request, error) {
	cert := &cmapi.Certificate{}
	if err := r.Cache.Get(ctx, key, cert); apierrors.IsNotFound(err) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("reading the Certificate: %w", err)
	}
	if cert.DeletionTimestamp != nil {
		return nil, nil, nil
	}
	now := r.Now()
	s := &observed{State: State{Now: now, Cert: cert, BackOff: r.BackOff, OwnSecret: r.ownsSecret(cert), LoopUntil: r.breaker.until(cert)}}
	if s.heldFor = r.holdOff.left(cert, now); s.heldFor > 0 {
		return s, nil, nil
	}
	if s.behind = r.writer.written.behind(certificateID(key), cert.ResourceVersion, now); s.behind {
		return s, nil, nil
	}
	history, err := r.observeRequests(ctx, s)
	if err != nil || s.behind {
		return s, nil, err
	}
	if s.Secret, err = r.Secrets.View(ctx, keyOf(cert.Namespace, cert.Spec.SecretName)); err != nil {
		return s, nil, err
	}
	if s.Owner, err = r.otherOwner(ctx, cert, s.Secret); err != nil {
		return s, nil, err
	}
	if err := r.observeKeystores(ctx, s); err != nil {
		return s, nil, err
	}
	return s, history, r.observeNextKey(ctx, s)
}

// ownsSecret tells whether a Certificate's Secret is to go with it.
func (r *Certificates) ownsSecret(cert *cmapi.Certificate) bool {
	switch cert.Annotations[annDeletion] {
	case deletionDelete:
		return true
	case deletionRetain:
		return false
	}
	return r.OwnSecrets
}

// observeRequests finds the Certificate's own requests: the current one, the next one, and all of them.
func (r *Certificates) observeRequests(ctx context.Context, s *observed) ([]*Request, error) {
	var list cmapi.CertificateRequestList
	err := r.Cache.List(ctx, &list, client.InNamespace(s.Cert.Namespace), client.MatchingFields{indexOwner: bucket(string(s.Cert.UID))}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing CertificateRequests: %w", err)
	}
	next := cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: s.Cert.Namespace, Name: requestName(s.Cert.Name, nextRevision(s.Cert))}}
	var history []*Request
	for i := range list.Items {
		if controllerOf(&list.Items[i], cmapi.CertificateKind) != s.Cert.UID {
			continue
		}
		req := &Request{CertificateRequest: &list.Items[i]}
		history = append(history, req)
		switch revisionOf(req.CertificateRequest) {
		case 0: // it names none: only to be cleared away
		case currentRevision(s.Cert):
			req.CSR = pki.NewRequestDigest(req.Spec.Request)
			s.Current = req
		case nextRevision(s.Cert):
			req.CSR = pki.NewRequestDigest(req.Spec.Request)
			s.Next = req
			next.ResourceVersion = req.ResourceVersion
		}
	}
	if err := r.completeRequest(ctx, s.Next); err != nil {
		return nil, err
	}
	s.behind = r.writer.written.behind(requestID(&next), next.ResourceVersion, s.Now)
	return history, nil
}

// completeRequest reads a signed request live where the cache has left out its certificate.
func (r *Certificates) completeRequest(ctx context.Context, req *Request) error {
	if req == nil || len(req.Status.Certificate) > 0 {
		return nil
	}
	if outcome, _, _ := outcomeOf(&req.Status); outcome != outcomeIssued {
		return nil
	}
	live := &cmapi.CertificateRequest{}
	err := r.Secrets.Live.Get(ctx, client.ObjectKeyFromObject(req.CertificateRequest), live)
	if apierrors.IsNotFound(err) || err == nil && live.UID != req.UID {
		return nil // its end is an event
	}
	if err != nil {
		return fmt.Errorf("reading CertificateRequest %s: %w", req.Name, err)
	}
	req.CertificateRequest = live
	return nil
}

// certificatesFor lists the Certificates that name a Secret.
func certificatesFor(ctx context.Context, cache client.Reader, namespace, secretName string) ([]cmapi.Certificate, error) {
	var list cmapi.CertificateList
	err := cache.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexSecretName: bucket(secretName)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing Certificates with secretName %s: %w", secretName, err)
	}
	return slices.DeleteFunc(list.Items, func(c cmapi.Certificate) bool { return c.Spec.SecretName != secretName }), nil
}

// otherOwner returns the Certificate to which the Secret belongs, if that is not cert.
func (r *Certificates) otherOwner(ctx context.Context, cert *cmapi.Certificate, secret *SecretView) (string, error) {
	siblings, err := certificatesFor(ctx, r.Cache, cert.Namespace, cert.Spec.SecretName)
	if err != nil || len(siblings) < 2 {
		return "", err
	}
	if owner := ownerAmong(siblings, secret); owner != cert.Name {
		return owner, nil
	}
	return "", nil
}

// ownerAmong picks which of several Certificates a Secret belongs to: the one that it was issued for, else the oldest, ties by
// name.
func ownerAmong(siblings []cmapi.Certificate, secret *SecretView) string {
	oldest := &siblings[0]
	for i := range siblings {
		c := &siblings[i]
		if secret != nil && secret.Annotations.get(annCertificate) == c.Name {
			return c.Name
		}
		if c.CreationTimestamp.Before(&oldest.CreationTimestamp) || c.CreationTimestamp.Equal(&oldest.CreationTimestamp) && c.Name < oldest.Name {
			oldest = c
		}
	}
	return oldest.Name
}

// observeNextKey finds the persisted key: the one that the status names, or one that a crash left before the status was written.
func (r *Certificates) observeNextKey(ctx context.Context, s *observed) error {
	names := map[string]bool{}
	if n := s.Cert.Status.NextPrivateKeySecretName; n != nil {
		names[*n] = true
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.Cache.List(ctx, list, client.InNamespace(s.Cert.Namespace), client.MatchingFields{indexNextKey: string(s.Cert.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("listing temporary Secrets: %w", err)
	}
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	delete(names, s.Cert.Spec.SecretName) // whatever its labels say, it is no temporary one
	for name := range names {
		view, err := r.Secrets.View(ctx, keyOf(s.Cert.Namespace, name))
		if err != nil {
			return err
		}
		if view == nil {
			continue
		}
		k := nextKeyOf(name, view)
		switch {
		case view.Labels.get(labelNextKey) != "true" || !ownedBy(view.OwnerReferences, s.Cert): // the status names somebody else's Secret
		case s.NextKey == nil && k.Digest.KeySpec == pki.KeySpecOf(s.Cert.Spec.PrivateKey) && (len(names) == 1 || s.recorded(name)):
			s.NextKey = k
		default:
			s.strays = append(s.strays, k)
		}
	}
	return nil
}

func (s *observed) recorded(name string) bool {
	n := s.Cert.Status.NextPrivateKeySecretName
	return n != nil && *n == name
}
