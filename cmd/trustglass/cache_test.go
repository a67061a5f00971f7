package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestTrim(t *testing.T) {
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	full := func(kind string, change func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
		m := metadataOf(kind)
		m.Name, m.Namespace, m.ResourceVersion = "x", "shop", "7"
		m.Labels = map[string]string{"app": "x"}
		m.Annotations = map[string]string{"note": "x", lastApplied: "{the whole payload}"}
		m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		m.OwnerReferences = []metav1.OwnerReference{{Name: "owner"}}
		if change != nil {
			change(m)
		}
		return m
	}
	bare := func(kind string, change func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
		m := metadataOf(kind)
		m.Name, m.Namespace, m.ResourceVersion = "x", "shop", "7"
		if change != nil {
			change(m)
		}
		return m
	}
	const allowed = "reflector.v1.k8s.emberstack.com/reflection-allowed"
	for _, tc := range []struct {
		reason   string
		in, want *metav1.PartialObjectMetadata
	}{
		{"somebody's Secret keeps its name and version", full("Secret", nil), bare("Secret", nil)},
		{"somebody's ConfigMap too", full("ConfigMap", nil), bare("ConfigMap", nil)},
		{"a source keeps all but the payload that kubectl left in it",
			full("Secret", func(m *metav1.PartialObjectMetadata) { m.Annotations[allowed] = "true" }),
			full("Secret", func(m *metav1.PartialObjectMetadata) {
				m.Annotations[allowed] = "true"
				delete(m.Annotations, lastApplied)
			})},
		{"a persisted key keeps what its Certificate is found by",
			full("Secret", func(m *metav1.PartialObjectMetadata) { m.Labels["cert-manager.io/next-private-key"] = "true" }),
			full("Secret", func(m *metav1.PartialObjectMetadata) {
				m.Labels["cert-manager.io/next-private-key"] = "true"
				m.Annotations, m.ManagedFields = nil, nil
			})},
		{"the trust namespace may hold sources of any name and label",
			full("ConfigMap", func(m *metav1.PartialObjectMetadata) { m.Namespace = "cert-manager" }),
			full("ConfigMap", func(m *metav1.PartialObjectMetadata) {
				m.Namespace = "cert-manager"
				delete(m.Annotations, lastApplied)
			})},
		{"a namespace keeps labels and annotations",
			full("Namespace", func(m *metav1.PartialObjectMetadata) { m.Namespace = "" }),
			full("Namespace", func(m *metav1.PartialObjectMetadata) {
				m.Namespace = ""
				delete(m.Annotations, lastApplied)
				m.ManagedFields, m.OwnerReferences = nil, nil
			})},
	} {
		got, err := trim("cert-manager")(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(tc.want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestTrimLeavesOurKindsWhole(t *testing.T) {
	cert := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}}
	got, err := trim("cert-manager")(cert)
	if err != nil {
		t.Fatal(err)
	}
	c := got.(*cmapi.Certificate)
	if c.ManagedFields != nil || c.Annotations["a"] != "b" {
		t.Errorf("metadata is %+v", c.ObjectMeta)
	}
}
