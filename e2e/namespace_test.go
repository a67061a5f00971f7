package e2e

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// A daemon for one namespace leaves the others alone.
func TestOneNamespace(t *testing.T) {
	for _, ns := range []string{"inside", "outside"} {
		namespace(t, ns, nil)
		create(t, &cmapi.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "self"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}})
		create(t, &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}, Spec: cmapi.CertificateSpec{
			SecretName: "web", CommonName: "web", IssuerRef: cmmeta.IssuerReference{Name: "self"},
		}})
	}
	startDaemon(t, "--namespace=inside")
	waitReady(t, "inside", "web")
	time.Sleep(500 * time.Millisecond) // what was worked on beside it would have a status by now
	cert, err := get("outside", "web", &cmapi.Certificate{})
	if err != nil || len(cert.Status.Conditions) > 0 {
		t.Errorf("the Certificate outside: %v, %v", cert.Status.Conditions, err)
	}
	issuer, err := get("outside", "self", &cmapi.Issuer{})
	if err != nil || len(issuer.Status.Conditions) > 0 {
		t.Errorf("the Issuer outside: %v, %v", issuer.Status.Conditions, err)
	}
}
