package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// A Kubernetes CertificateSigningRequest to the internal CA is signed where cert-manager's feature gate is on: once it is approved,
// and with its annotations left as they are.
func TestSigningRequests(t *testing.T) {
	startDaemon(t, "--feature-gates=ExperimentalCertificateSigningRequestControllers=true")
	apply(t, "internal-ca.yaml")
	waitReady(t, "cert-manager", "root-ca")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "pod"}, DNSNames: []string{"pod.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	req := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "pod", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "experimental.cert-manager.io/request-duration": "24h"}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: "clusterissuers.cert-manager.io/intermediate-ca", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth},
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		},
	}
	create(t, req)
	waitEvent(t, "", "pod", "WaitingApproval", "Waiting for the Approved condition")
	req.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	if err := testenv.Admin().SubResource("approval").Update(ctx, req); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the certificate", func() error {
		if req, err = get("", "pod", req); err == nil && len(req.Status.Certificate) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	waitEvent(t, "", "pod", "CertificateIssued", "Certificate fetched from issuer successfully")
	chain, err := pki.ParseCertificates(req.Status.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(secret(t, "cert-manager", "root-ca").Data["tls.crt"])
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: "pod.example.com"}); err != nil {
		t.Error(err)
	}
	if d := chain[0].NotAfter.Sub(chain[0].NotBefore); d.Hours() != 24 || !key.PublicKey.Equal(chain[0].PublicKey) || bytes.Equal(chain[0].RawIssuer, chain[0].RawSubject) {
		t.Errorf("valid for %s, issued by %s to %s", d, chain[0].Issuer, chain[0].Subject)
	}
	if req.Annotations[corev1.LastAppliedConfigAnnotation] != "{}" {
		t.Errorf("annotations %v", req.Annotations)
	}
}
