package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// An external issuer's controller, written against cert-manager, runs beside the daemon and signs for it: its group is approved where
// the daemon's roles say so, and Certificates become Ready, or say what came in between.

// external is a namespace with SmallIssuers and the controller that serves them.
type external struct {
	t  *testing.T
	ns string
}

func newExternal(t *testing.T) *external {
	t.Helper()
	e := &external{t: t, ns: testenv.Namespace(t, nil)}
	e.installCRD()
	grant(t, "small-issuer", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "small-issuer"},
		rbacv1.PolicyRule{APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests"}, Verbs: []string{"get", "list", "watch"}},
		rbacv1.PolicyRule{APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests/status"}, Verbs: []string{"update"}},
		rbacv1.PolicyRule{APIGroups: []string{smallGroup}, Resources: []string{smallPlural}, Verbs: []string{"get", "list", "watch"}},
	)
	// What an administrator adds for an external issuer, here for one of its kind: the right to approve for it.
	grant(t, "approve-small-issuers", rbacv1.Subject{Kind: "ServiceAccount", Namespace: testenv.DaemonNamespace, Name: testenv.DaemonName},
		rbacv1.PolicyRule{APIGroups: []string{"cert-manager.io"}, Resources: []string{"signers"}, Verbs: []string{"approve"}, ResourceNames: []string{smallPlural + "." + smallGroup + "/" + e.ns + ".auto"}},
	)
	e.startController()
	for _, name := range []string{"auto", "manual"} {
		issuer := object(smallGroup+"/v1", smallKind, e.ns, name)
		issuer.Object["spec"] = map[string]any{"mode": modeSign}
		create(t, issuer)
	}
	return e
}

func grant(t *testing.T, name string, to rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	t.Helper()
	create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{to},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	})
}

func (e *external) installCRD() {
	e.t.Helper()
	crd := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", smallPlural+"."+smallGroup)
	crd.Object["spec"] = map[string]any{
		"group": smallGroup, "scope": "Namespaced",
		"names": map[string]any{"kind": smallKind, "listKind": smallKind + "List", "plural": smallPlural, "singular": "smallissuer"},
		"versions": []any{map[string]any{
			"name": "v1", "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "x-kubernetes-preserve-unknown-fields": true,
			}},
		}},
	}
	if err := testenv.Admin().Create(ctx, crd); client.IgnoreAlreadyExists(err) != nil { // it stays for the next test: it takes a while to go
		e.t.Fatal(err)
	}
	testenv.Eventually(e.t, "the CRD to be served", func() error {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(smallGroup + "/v1")
		list.SetKind(smallKind + "List")
		return testenv.Admin().List(ctx, list)
	})
}

// startController runs the external issuer's controller as its own user.
func (e *external) startController() {
	e.t.Helper()
	as := testenv.AdminConfig()
	as.Impersonate = rest.ImpersonationConfig{UserName: "small-issuer"}
	mgr, err := ctrl.NewManager(as, ctrl.Options{
		Scheme: testenv.Scheme(), Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	issuer, err := newSmallIssuer(mgr.GetClient())
	if err != nil {
		e.t.Fatal(err)
	}
	if err := issuer.setup(mgr); err != nil {
		e.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	e.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			e.t.Errorf("the external issuer's controller: %v", err)
		}
	})
}

// mode changes what an issuer does.
func (e *external) mode(name, mode string) {
	e.t.Helper()
	testenv.Eventually(e.t, "changing the issuer", func() error {
		issuer, err := get(e.ns, name, object(smallGroup+"/v1", smallKind, e.ns, name))
		if err != nil {
			return err
		}
		issuer.Object["spec"] = map[string]any{"mode": mode}
		return testenv.Admin().Update(ctx, issuer)
	})
}

// certificate creates a Certificate that a SmallIssuer is to sign, and clears it away with its requests.
func (e *external) certificate(name, issuer string) {
	e.t.Helper()
	create(e.t, &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.ns, Name: name},
		Spec: cmapi.CertificateSpec{
			SecretName: name, DNSNames: []string{name + ".example.com"}, PrivateKey: &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm},
			IssuerRef: cmmeta.IssuerReference{Name: issuer, Kind: smallKind, Group: smallGroup},
		},
	})
}

// issued waits until a Certificate has come to rest at a revision, checks its Secret and returns its leaf.
func (e *external) issued(name string, revision int) *x509.Certificate {
	e.t.Helper()
	var leaf *x509.Certificate
	testenv.Eventually(e.t, fmt.Sprintf("%s at revision %d", name, revision), func() error {
		cert, err := get(e.ns, name, &cmapi.Certificate{})
		if err != nil {
			return err
		}
		if ptr.Deref(cert.Status.Revision, 0) != revision || len(cert.Status.Conditions) != 1 || cert.Status.Conditions[0].Status != cmmeta.ConditionTrue || cert.Status.NextPrivateKeySecretName != nil {
			return fmt.Errorf("status %+v", cert.Status)
		}
		s, err := get(e.ns, name, &corev1.Secret{})
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
		if err != nil {
			return err
		}
		leaf = pair.Leaf
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.Data["ca.crt"])
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name + ".example.com", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	})
	s := secret(e.t, e.ns, name)
	if s.Annotations[cmapi.IssuerKindAnnotationKey] != smallKind || s.Annotations[cmapi.IssuerGroupAnnotationKey] != smallGroup {
		e.t.Errorf("annotations of the Secret: %v", s.Annotations)
	}
	return leaf
}

// says waits until a Certificate's condition Issuing has a status and reason, and returns the Certificate.
func (e *external) says(name string, status cmmeta.ConditionStatus, reason, message string) *cmapi.Certificate {
	e.t.Helper()
	var cert *cmapi.Certificate
	testenv.Eventually(e.t, fmt.Sprintf("%s to be Issuing=%s, %s", name, status, reason), func() (err error) {
		if cert, err = get(e.ns, name, &cmapi.Certificate{}); err != nil {
			return err
		}
		for _, c := range cert.Status.Conditions {
			if c.Type == cmapi.CertificateConditionIssuing && c.Status == status && c.Reason == reason && (message == "" || c.Message == message) {
				return nil
			}
		}
		return fmt.Errorf("status %+v", cert.Status)
	})
	return cert
}

// request waits for a request whose conditions include kind with a reason, and returns it.
func (e *external) request(name string, kind cmapi.CertificateRequestConditionType, reason string) *cmapi.CertificateRequest {
	e.t.Helper()
	var req *cmapi.CertificateRequest
	testenv.Eventually(e.t, fmt.Sprintf("request %s to be %s for %q", name, kind, reason), func() (err error) {
		if req, err = get(e.ns, name, &cmapi.CertificateRequest{}); err != nil {
			return err
		}
		if c := smallCondition(req, kind); c == nil || c.Reason != reason {
			return fmt.Errorf("conditions %+v", req.Status.Conditions)
		}
		return nil
	})
	return req
}

// failedOnce checks that an issuance has failed for a reason, once, and that it is left at that for now.
func (e *external) failedOnce(name, reason, message string) {
	e.t.Helper()
	cert := e.says(name, cmmeta.ConditionFalse, reason, message)
	if ptr.Deref(cert.Status.FailedIssuanceAttempts, 0) != 1 || cert.Status.LastFailureTime == nil {
		e.t.Errorf("%s: status %+v", name, cert.Status)
	}
	waitEvent(e.t, e.ns, name, reason, "failed to complete and will be retried")
	req, err := get(e.ns, name+"-1", &cmapi.CertificateRequest{})
	if err != nil {
		e.t.Fatal(err)
	}
	settle(e.t, e.ns)
	again, err := get(e.ns, name+"-1", &cmapi.CertificateRequest{})
	if err != nil || again.UID != req.UID {
		e.t.Errorf("%s was tried again at once (%v)", name, err)
	}
	if err := absent(&corev1.Secret{}, e.ns, name); err != nil {
		e.t.Errorf("%s: %v", name, err)
	}
}

// decide approves or denies a request as a person does.
func (e *external) decide(name string, kind cmapi.CertificateRequestConditionType, reason, message string) {
	e.t.Helper()
	testenv.Eventually(e.t, "deciding on "+name, func() error {
		req, err := get(e.ns, name, &cmapi.CertificateRequest{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		req.Status.Conditions = append(req.Status.Conditions, cmapi.CertificateRequestCondition{
			Type: kind, Status: cmmeta.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: &now,
		})
		return testenv.Admin().Status().Update(ctx, req)
	})
}

const willRetry = "The certificate request has failed to complete and will be retried: "

func TestExternalIssuer(t *testing.T) {
	e := newExternal(t)
	startDaemon(t)

	e.certificate("web", "auto")
	first := e.issued("web", 1)
	e.request("web-1", cmapi.CertificateRequestConditionApproved, "cert-manager.io")
	waitEvent(t, e.ns, "web", "Issuing", "successfully issued")

	renew(t, e.ns, "web")
	second := e.issued("web", 2)
	if first.SerialNumber.Cmp(second.SerialNumber) == 0 || first.PublicKey.(*ecdsa.PublicKey).Equal(second.PublicKey) {
		t.Error("the renewed certificate is the old one, or has the old key")
	}

	// Pending is no failure: it may take as long as it takes.
	e.mode("auto", modeHold)
	e.certificate("slow", "auto")
	e.request("slow-1", cmapi.CertificateRequestConditionReady, "Pending")
	settle(t, e.ns)
	if cert := e.says("slow", cmmeta.ConditionTrue, "DoesNotExist", ""); cert.Status.LastFailureTime != nil || cert.Status.NextPrivateKeySecretName == nil {
		t.Errorf("status while it is pending: %+v", cert.Status)
	}
	e.mode("auto", modeSign)
	e.issued("slow", 1)

	// What the daemon is not told to approve waits for somebody.
	e.certificate("asked", "manual")
	e.says("asked", cmmeta.ConditionTrue, "DoesNotExist", "")
	settle(t, e.ns)
	if req, err := get(e.ns, "asked-1", &cmapi.CertificateRequest{}); err != nil || len(req.Status.Conditions) != 0 {
		t.Errorf("the request that nobody has decided on: %+v, %v", req.Status, err)
	}
	e.decide("asked-1", cmapi.CertificateRequestConditionApproved, "KubectlCertManager", "fine")
	e.issued("asked", 1)

	// A renewal that fails leaves the Secret and Ready as they are.
	e.mode("auto", modeFail)
	renew(t, e.ns, "web")
	e.says("web", cmmeta.ConditionFalse, "Failed", willRetry+"the small issuer does not like it")
	if leaf := waitReady(t, e.ns, "web"); ptr.Deref(leaf.Status.Revision, 0) != 2 {
		t.Errorf("revision %v", leaf.Status.Revision)
	}
	pair, err := tls.X509KeyPair(secret(t, e.ns, "web").Data["tls.crt"], secret(t, e.ns, "web").Data["tls.key"])
	if err != nil || !pair.Leaf.Equal(second) {
		t.Errorf("the Secret changed though the renewal failed: %v", err)
	}
}

// Each way in which an external issuer, or whoever decides on its requests, can end one without a certificate.
func TestExternalIssuerRefuses(t *testing.T) {
	e := newExternal(t)
	startDaemon(t)
	for _, tc := range []struct{ mode, reason, message string }{
		{modeFail, "Failed", willRetry + "the small issuer does not like it"},
		{modeInvalid, "BadNames", willRetry + "the names are not ours"},
		{modeJunk, "InvalidCertificate", ""},
		{modeOtherKey, "InvalidCertificate", ""},
		{modeExpired, "InvalidCertificate", ""},
	} {
		e.mode("auto", tc.mode)
		e.certificate(tc.mode, "auto")
		e.failedOnce(tc.mode, tc.reason, tc.message)
	}

	e.certificate("denied", "manual")
	e.decide("denied-1", cmapi.CertificateRequestConditionDenied, "Policy", "not this name")
	e.failedOnce("denied", "Policy", willRetry+"not this name")
	if req := e.request("denied-1", cmapi.CertificateRequestConditionReady, "Denied"); req.Status.FailureTime == nil {
		t.Error("the denied request has no failureTime")
	}

	// An edit does not wait for the pause to end.
	e.mode("auto", modeSign)
	testenv.Eventually(t, "editing the Certificate", func() error {
		cert, err := get(e.ns, modeFail, &cmapi.Certificate{})
		if err != nil {
			return err
		}
		cert.Spec.DNSNames = append(cert.Spec.DNSNames, "more.example.com")
		return testenv.Admin().Update(ctx, cert)
	})
	if leaf := e.issued(modeFail, 1); len(leaf.DNSNames) != 2 {
		t.Errorf("names %q", leaf.DNSNames)
	}
}

// After the pause it is tried again, with another request, and each pause is longer: junk is no endless loop.
func TestExternalIssuerBacksOff(t *testing.T) {
	e := newExternal(t)
	startDaemon(t, "--certificate-request-minimum-backoff-duration=1s", "--certificate-request-maximum-backoff-duration=8s")
	e.mode("auto", modeJunk)
	e.certificate("web", "auto")
	began := time.Now()
	seen := map[types.UID]bool{}
	testenv.Eventually(t, "three failed attempts", func() error {
		if req, err := get(e.ns, "web-1", &cmapi.CertificateRequest{}); err == nil {
			seen[req.UID] = true
		}
		cert, err := get(e.ns, "web", &cmapi.Certificate{})
		if err == nil && ptr.Deref(cert.Status.FailedIssuanceAttempts, 0) < 3 {
			err = fmt.Errorf("status %+v", cert.Status)
		}
		return err
	})
	if took := time.Since(began); took < time.Second || len(seen) > 3 { // pauses of 1 s and 2 s, each less the part of a second that a status drops
		t.Errorf("%d requests in %s", len(seen), took)
	}
	e.mode("auto", modeSign)
	e.issued("web", 1)
	cert, err := get(e.ns, "web", &cmapi.Certificate{})
	if err != nil || cert.Status.FailedIssuanceAttempts != nil || cert.Status.LastFailureTime != nil {
		t.Errorf("success did not clear the failures: %+v, %v", cert.Status, err)
	}
}

// The daemon is killed while the issuer has the request, and the issuer answers meanwhile: the next daemon goes on with that answer
// and the key that was kept for it.
func TestExternalIssuerOutlivesTheDaemon(t *testing.T) {
	e := newExternal(t)
	d := startDaemon(t)
	e.mode("auto", modeHold)
	e.certificate("web", "auto")
	held := e.request("web-1", cmapi.CertificateRequestConditionReady, "Pending")
	e.says("web", cmmeta.ConditionTrue, "DoesNotExist", "")
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	e.mode("auto", modeSign)
	e.request("web-1", cmapi.CertificateRequestConditionReady, "Issued")
	startDaemon(t)
	e.issued("web", 1)
	if req, err := get(e.ns, "web-1", &cmapi.CertificateRequest{}); err != nil || req.UID != held.UID {
		t.Errorf("there is another request (%v)", err)
	}
	var temporary corev1.SecretList
	testenv.Eventually(t, "the kept key to go", func() error {
		if err := testenv.Admin().List(ctx, &temporary, client.InNamespace(e.ns), client.MatchingLabels{cmapi.IsNextPrivateKeySecretLabelKey: "true"}); err != nil {
			return err
		}
		if n := len(temporary.Items); n > 0 {
			return fmt.Errorf("%d temporary Secrets", n)
		}
		return nil
	})
}
