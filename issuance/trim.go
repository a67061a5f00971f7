package issuance

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// TrimRequest takes out of a CertificateRequest what a cache need not keep: of one that has come to its end, the CSR (a digest takes
// its place, which is all that matching needs), the certificates and who asked for it.
//
// What is left shares its strings with others that say the same, as TrimCertificate has it.
func TrimRequest(r *cmapi.CertificateRequest) {
	defer shareRequest(r)
	if !settled(&r.Status) {
		return
	}
	r.Spec.Request = pki.NewRequestDigest(r.Spec.Request).Text()
	r.Status.Certificate, r.Status.CA = nil, nil
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	r.Labels = nil
	kept := map[string]string{}
	for _, key := range []string{annRevision, annRenew} {
		if v, ok := r.Annotations[key]; ok {
			kept[key] = v
		}
	}
	revision := revisionOf(r)
	if r.Annotations = nil; revisionOf(r) == revision { // a map for what the name says too would double what a request takes
		delete(kept, annRevision)
	}
	if len(kept) > 0 {
		r.Annotations = kept
	}
}

// TrimCertificate lets a Certificate in the cache share the bytes of its strings with others that say the same: there are thousands,
// decoded one by one, and most of what they say is alike.
func TrimCertificate(c *cmapi.Certificate) {
	shareMeta(&c.TypeMeta, &c.ObjectMeta)
	shareIssuer(&c.Spec.IssuerRef)
	shareAll(c.Spec.Usages)
	if k := c.Spec.PrivateKey; k != nil {
		k.Algorithm, k.Encoding, k.RotationPolicy = shared(k.Algorithm), shared(k.Encoding), shared(k.RotationPolicy)
	}
	for i := range c.Status.Conditions {
		at := &c.Status.Conditions[i]
		at.Type, at.Status, at.Reason, at.Message = shared(at.Type), shared(at.Status), shared(at.Reason), shared(at.Message)
	}
}

func shareRequest(r *cmapi.CertificateRequest) {
	shareMeta(&r.TypeMeta, &r.ObjectMeta)
	shareIssuer(&r.Spec.IssuerRef)
	shareAll(r.Spec.Usages)
	for i := range r.Status.Conditions {
		at := &r.Status.Conditions[i]
		at.Type, at.Status, at.Reason, at.Message = shared(at.Type), shared(at.Status), shared(at.Reason), shared(at.Message)
	}
}

func shareMeta(t *metav1.TypeMeta, m *metav1.ObjectMeta) {
	t.Kind, t.APIVersion, m.Namespace = shared(t.Kind), shared(t.APIVersion), shared(m.Namespace)
	for i := range m.OwnerReferences {
		o := &m.OwnerReferences[i]
		o.APIVersion, o.Kind, o.Controller, o.BlockOwnerDeletion = shared(o.APIVersion), shared(o.Kind), sharedBool(o.Controller), sharedBool(o.BlockOwnerDeletion)
	}
	if len(m.Labels) == 0 {
		m.Labels = nil
	}
	if len(m.Annotations) == 0 {
		m.Annotations = nil
	}
}

func shareIssuer(ref *cmmeta.IssuerReference) {
	ref.Name, ref.Kind, ref.Group = shared(ref.Name), shared(ref.Kind), shared(ref.Group)
}

func shareAll[S ~string](list []S) {
	for i := range list {
		list[i] = shared(list[i])
	}
}

var isTrueOrFalse = map[bool]*bool{true: ptr.To(true), false: ptr.To(false)}

// sharedBool returns one of two pointers: nobody writes to what is in a cache.
func sharedBool(b *bool) *bool {
	if b == nil {
		return nil
	}
	return isTrueOrFalse[*b]
}
