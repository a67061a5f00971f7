package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// An Ingress with a cluster issuer's annotation gets its Certificate and Secret, and takes the Certificate along when it goes.
func TestIngress(t *testing.T) {
	startDaemon(t)
	namespace(t, "shop-ingress", nil)
	create(t, &cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "step-ca-issuer"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}})
	apply(t, "ingress.yaml", func(u *unstructured.Unstructured) { u.SetNamespace("shop-ingress") })
	cert := waitReady(t, "shop-ingress", "my-app-tls")
	if len(cert.Spec.DNSNames) != 1 || cert.Spec.DNSNames[0] != "my-app.internal" || !metav1.IsControlledBy(cert, ingress(t)) {
		t.Errorf("names %v, owners %v", cert.Spec.DNSNames, cert.OwnerReferences)
	}
	if err := testenv.Admin().Delete(ctx, ingress(t)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the Certificate to go with its Ingress", func() error {
		_, err := get("shop-ingress", "my-app-tls", &cmapi.Certificate{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

func ingress(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("networking.k8s.io/v1")
	u.SetKind("Ingress")
	u, err := get("shop-ingress", "my-app", u)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A webhook configuration of somebody's gets the CA of the Certificate that it names.
func TestInjection(t *testing.T) {
	startDaemon(t)
	namespace(t, "injected", nil)
	create(t, &cmapi.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: "injected", Name: "self"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}})
	create(t, &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "injected", Name: "serving"}, Spec: cmapi.CertificateSpec{
		SecretName: "serving", CommonName: "serving", DNSNames: []string{"hook.injected.svc"}, IssuerRef: cmmeta.IssuerReference{Name: "self"},
	}})
	create(t, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "somebodys", Annotations: map[string]string{"cert-manager.io/inject-ca-from": "injected/serving"}},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "hook.example.org", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "injected", Name: "hook"}},
		}},
	})
	waitReady(t, "injected", "serving")
	testenv.Eventually(t, "the CA in the webhook configuration", func() error {
		hook, err := get("", "somebodys", &admissionregistrationv1.ValidatingWebhookConfiguration{})
		if err != nil {
			return err
		}
		secret, err := get("injected", "serving", &corev1.Secret{})
		if err == nil && !bytes.Equal(bytes.TrimSpace(hook.Webhooks[0].ClientConfig.CABundle), bytes.TrimSpace(secret.Data["ca.crt"])) {
			err = fmt.Errorf("caBundle %q", hook.Webhooks[0].ClientConfig.CABundle)
		}
		return err
	})
}
