package e2e

import (
	"crypto/x509"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Users' manifests for an internal CA: a root, an intermediate, and a leaf that verifies against the root with what its own
// tls.crt brings along.
func TestInternalCA(t *testing.T) {
	startDaemon(t)
	apply(t, "internal-ca.yaml")
	ns := testenv.Namespace(t, nil)
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(ns) })
	waitReady(t, "cert-manager", "root-ca")
	waitReady(t, ns, "leaf")

	leaf := secret(t, ns, "leaf-tls")
	if leaf.Type != corev1.SecretTypeTLS {
		t.Errorf("the leaf's Secret has type %s", leaf.Type)
	}
	certs, err := pki.ParseCertificates(leaf.Data["tls.crt"])
	if err != nil {
		t.Fatal(err)
	}
	if len(certs) != 2 {
		t.Fatalf("tls.crt holds %d certificates, want the leaf and the intermediate", len(certs))
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(secret(t, "cert-manager", "root-ca").Data["tls.crt"])
	intermediates.AddCert(certs[1])
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: "leaf.example.com"}); err != nil {
		t.Errorf("the leaf does not verify against the root: %v", err)
	}
	waitEvent(t, ns, "leaf", "Issuing", "successfully issued")
}
