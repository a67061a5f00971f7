package source

import (
	"maps"
	"reflect"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// certificateFor returns the Certificate that a source wants for an entry.
func certificateFor(s *Source, gvk schema.GroupVersionKind, e Entry) *cmapi.Certificate {
	owner := &metav1.ObjectMeta{Name: s.Key.Name, UID: s.UID}
	c := &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Key.Namespace, Name: e.SecretName, Labels: maps.Clone(s.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
		},
		Spec: specFor(s.Wish, e),
	}
	if len(s.Annotations) > 0 {
		c.Annotations = maps.Clone(s.Annotations)
	}
	return c
}

// specFor returns the spec of the Certificate that is wanted for an entry. Usages are spelled out where none are asked for, as
// cert-manager's shims do: a Certificate of theirs must not change.
func specFor(w *Wish, e Entry) cmapi.CertificateSpec {
	spec := *w.Spec.DeepCopy()
	spec.SecretName = e.SecretName
	spec.DNSNames = appendNew(slices.Clone(e.DNSNames), w.Spec.DNSNames...)
	spec.IPAddresses = appendNew(slices.Clone(e.IPAddresses), w.Spec.IPAddresses...)
	if len(spec.Usages) == 0 {
		spec.Usages = pki.DefaultUsages()
	}
	return spec
}

// derived is a field of a Certificate's spec that its source decides on.
type derived struct {
	name  string // as in the API
	same  func(a, b *cmapi.CertificateSpec) bool
	unset func(*cmapi.CertificateSpec) bool
	copy  func(to, from *cmapi.CertificateSpec)
}

// derive describes a field by where it is and when two of its values mean the same.
func derive[T any](name string, at func(*cmapi.CertificateSpec) *T, same func(a, b T) bool) derived {
	return derived{
		name: name,
		same: func(a, b *cmapi.CertificateSpec) bool { return same(*at(a), *at(b)) },
		unset: func(s *cmapi.CertificateSpec) bool {
			v := reflect.ValueOf(at(s)).Elem()
			return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
		},
		copy: func(to, from *cmapi.CertificateSpec) { *at(to) = *at(from) },
	}
}

// fields are all that a source decides on. Lists of names and usages are sets: their order means nothing, and to change it would
// be a write for nothing.
var fields = []derived{
	derive("secretName", func(s *cmapi.CertificateSpec) *string { return &s.SecretName }, equal),
	derive("issuerRef", func(s *cmapi.CertificateSpec) *cmmeta.IssuerReference { return &s.IssuerRef }, pki.SameIssuer),
	derive("commonName", func(s *cmapi.CertificateSpec) *string { return &s.CommonName }, equal),
	derive("dnsNames", func(s *cmapi.CertificateSpec) *[]string { return &s.DNSNames }, pki.SameSet),
	derive("ipAddresses", func(s *cmapi.CertificateSpec) *[]string { return &s.IPAddresses }, pki.SameSet),
	derive("emailAddresses", func(s *cmapi.CertificateSpec) *[]string { return &s.EmailAddresses }, pki.SameSet),
	derive("subject", func(s *cmapi.CertificateSpec) **cmapi.X509Subject { return &s.Subject }, semantic),
	derive("duration", func(s *cmapi.CertificateSpec) **metav1.Duration { return &s.Duration }, semantic),
	derive("renewBefore", func(s *cmapi.CertificateSpec) **metav1.Duration { return &s.RenewBefore }, semantic),
	derive("renewBeforePercentage", func(s *cmapi.CertificateSpec) **int32 { return &s.RenewBeforePercentage }, semantic),
	derive("usages", func(s *cmapi.CertificateSpec) *[]cmapi.KeyUsage { return &s.Usages }, sameUsages),
	derive("privateKey", func(s *cmapi.CertificateSpec) **cmapi.CertificatePrivateKey { return &s.PrivateKey }, sameKey),
	derive("revisionHistoryLimit", func(s *cmapi.CertificateSpec) **int32 { return &s.RevisionHistoryLimit }, semantic),
	derive("secretTemplate", func(s *cmapi.CertificateSpec) **cmapi.CertificateSecretTemplate { return &s.SecretTemplate }, semantic),
}

func equal(a, b string) bool { return a == b }

func semantic[T any](a, b T) bool { return apiequality.Semantic.DeepEqual(a, b) }

// sameUsages compares usages with the default for none: spelling that out would have the certificate issued anew.
func sameUsages(a, b []cmapi.KeyUsage) bool {
	spelt := func(list []cmapi.KeyUsage) []cmapi.KeyUsage {
		if len(list) == 0 {
			return pki.DefaultUsages()
		}
		return list
	}
	return pki.SameSet(spelt(a), spelt(b))
}

// sameKey compares what is asked of private keys; the size of an Ed25519 key is fixed, whatever is asked for.
func sameKey(a, b *cmapi.CertificatePrivateKey) bool {
	plain := func(k *cmapi.CertificatePrivateKey) cmapi.CertificatePrivateKey {
		if k == nil {
			return cmapi.CertificatePrivateKey{}
		}
		out := *k
		if out.Algorithm == cmapi.Ed25519KeyAlgorithm {
			out.Size = 0
		}
		return out
	}
	return plain(a) == plain(b)
}

// derivedAnnotations are those that a source may put on its Certificates, beside the administrator's extra ones.
var derivedAnnotations = []string{
	cmacme.ACMECertificateHTTP01IngressNameOverride, cmacme.ACMECertificateHTTP01IngressClassOverride,
	cmacme.ACMECertificateHTTP01IngressClassNameOverride, cmapi.IssueTemporaryCertificateAnnotation,
	cmacme.ACMECertificateHTTP01ParentRefName, cmacme.ACMECertificateHTTP01ParentRefKind, cmacme.ACMECertificateHTTP01ParentRefNamespace,
}

// merge returns have with all that want asks for, and the names of what changed; nil when nothing did. What want doesn't ask for is
// taken away where owned says that it came from a source, and left where somebody else has added it.
func merge(have, want *cmapi.Certificate, extra []string, owned func(path ...string) bool) (*cmapi.Certificate, []string) {
	out := have.DeepCopy()
	var changed []string
	for _, f := range fields {
		if f.same(&have.Spec, &want.Spec) || f.unset(&want.Spec) && !owned("spec", f.name) {
			continue
		}
		f.copy(&out.Spec, &want.Spec)
		changed = append(changed, "spec."+f.name)
	}
	removable := slices.Collect(maps.Keys(have.Labels))
	if labels, ok := mergeMap(have.Labels, want.Labels, removable, func(key string) bool { return owned("metadata", "labels", key) }); ok {
		out.Labels = labels
		changed = append(changed, "metadata.labels")
	}
	removable = append(slices.Clone(derivedAnnotations), extra...)
	if annotations, ok := mergeMap(have.Annotations, want.Annotations, removable, func(key string) bool { return owned("metadata", "annotations", key) }); ok {
		out.Annotations = annotations
		changed = append(changed, "metadata.annotations")
	}
	if len(changed) == 0 {
		return nil, nil
	}
	return out, changed
}

// mergeMap returns have with all of want and without those removable keys that are owned, and whether that is a change.
func mergeMap(have, want map[string]string, removable []string, owned func(string) bool) (map[string]string, bool) {
	out := maps.Clone(have)
	for _, key := range removable {
		if _, wanted := want[key]; wanted {
			continue
		}
		if _, there := have[key]; there && owned(key) {
			delete(out, key)
		}
	}
	if out == nil && len(want) > 0 {
		out = map[string]string{}
	}
	maps.Copy(out, want)
	return out, !maps.Equal(have, out)
}
