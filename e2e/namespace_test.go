package e2e

import (
	"regexp"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// A daemon for one namespace leaves the others alone: it does not so much as know what is in them.
func TestOneNamespace(t *testing.T) {
	for _, ns := range []string{"inside", "outside"} {
		namespace(t, ns, nil)
		create(t, &cmapi.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "self"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}})
		create(t, &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}, Spec: cmapi.CertificateSpec{
			SecretName: "web", CommonName: "web", IssuerRef: cmmeta.IssuerReference{Name: "self"},
		}})
	}
	d := startDaemon(t, "--namespace=inside") // ready: its caches are filled
	waitReady(t, "inside", "web")
	metrics, err := testenv.Fetch(ctx, d.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"certificate", "issuer"} { // one series for each that it has in its cache
		series := regexp.MustCompile(`(?m)^certmanager_` + kind + `_ready_status\{.*namespace="(inside|outside)".*\}`)
		found := series.FindAllSubmatch(metrics, -1)
		if len(found) == 0 || slices.ContainsFunc(found, func(m [][]byte) bool { return string(m[1]) != "inside" }) {
			t.Errorf("series of %ss: %q", kind, found)
		}
	}
	cert, err := get("outside", "web", &cmapi.Certificate{})
	if err != nil || len(cert.Status.Conditions) > 0 {
		t.Errorf("the Certificate outside: %v, %v", cert.Status.Conditions, err)
	}
	issuer, err := get("outside", "self", &cmapi.Issuer{})
	if err != nil || len(issuer.Status.Conditions) > 0 {
		t.Errorf("the Issuer outside: %v, %v", issuer.Status.Conditions, err)
	}
}
