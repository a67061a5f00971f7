package main

import (
	"strings"
	"unique"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance"
	"github.com/trustglass/trustglass/issuance/signingrequest"
	"github.com/trustglass/trustglass/issuance/source"
	"github.com/trustglass/trustglass/reflector"
	"github.com/trustglass/trustglass/trust"
	"github.com/trustglass/trustglass/trust/inject"
)

// trim returns what the caches keep of an object. Of Secrets and ConfigMaps they see metadata only, and of one that concerns
// no feature they keep its name and version: a cluster's other Secrets cost a few hundred bytes each. The last-applied annotation
// always goes: kubectl writes whole payloads into it.
func trim(trustNamespace string) func(any) (any, error) {
	return func(obj any) (any, error) {
		m, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			if acc, err := meta.Accessor(obj); err == nil {
				acc.SetManagedFields(nil)
				delete(acc.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
			}
			switch o := obj.(type) {
			case *cmapi.Certificate:
				issuance.TrimCertificate(o)
			case *cmapi.CertificateRequest:
				issuance.TrimRequest(o)
			case *certificatesv1.CertificateSigningRequest:
				signingrequest.Trim(o)
			default:
				source.Trim(obj)
			}
			return obj, nil // what is no object, a tombstone, stays what it is
		}
		delete(m.Annotations, corev1.LastAppliedConfigAnnotation)
		m.Finalizers = nil
		if m.Kind == "Namespace" {
			m.ManagedFields, m.OwnerReferences = nil, nil
			return m, nil
		}
		if m.Namespace == "" { // what CAs are injected into
			m.Labels, m.OwnerReferences, m.ManagedFields = nil, nil, nil
			if !inject.Keeps(m) {
				m.Annotations = nil
			}
			return m, nil
		}
		if reflector.Keeps(m) || trust.Keeps(m, trustNamespace) {
			return m, nil
		}
		m.Annotations, m.ManagedFields = nil, nil
		if m.Kind != "Secret" || !issuance.Keeps(m) {
			m.Labels, m.OwnerReferences = nil, nil
			m.GenerateName = ""
		}
		// A substring of a decoded message would hold the whole message in memory.
		m.Name, m.Namespace = strings.Clone(m.Name), unique.Make(m.Namespace).Value()
		return m, nil
	}
}
