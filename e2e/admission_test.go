package e2e

import (
	"errors"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// as returns a client of a user who may edit everything of cert-manager.io, statuses too, and nothing else.
func as(t *testing.T, user string) client.Client {
	t.Helper()
	create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"cert-manager.io"}, Resources: []string{"certificaterequests", "certificaterequests/status", "certificates"}, Verbs: []string{"*"}},
	}})
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	})
	config := rest.CopyConfig(testenv.AdminConfig())
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The shipped webhook configurations, with the whole daemon behind them.
func TestAdmission(t *testing.T) {
	namespace(t, "admitted", nil)
	if err := testenv.InstallWebhooks(ctx, testenv.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := testenv.RemoveWebhooks(ctx, testenv.AdminConfig()); err != nil {
			t.Error(err)
		}
	})
	// A daemon that answers readiness answers admission: the first request must be admitted.
	startDaemon(t, "--controllers=*,-certificaterequests-approver")
	cert := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "admitted", Name: "web"}, Spec: cmapi.CertificateSpec{
		SecretName: "web", DNSNames: []string{"web.example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "self"},
	}}
	create(t, cert)
	bad := cert.DeepCopy()
	bad.ObjectMeta = metav1.ObjectMeta{Namespace: "admitted", Name: "bad"}
	bad.Spec.IPAddresses = []string{"no address"}
	if err := testenv.Admin().Create(ctx, bad); err == nil || !strings.Contains(err.Error(), "spec.ipAddresses[0]") {
		t.Errorf("an invalid Certificate: %v", err)
	}
	create(t, &cmapi.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: "admitted", Name: "self"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}})

	// The daemon's own request says who made it, and waits for somebody who may approve it.
	var own *cmapi.CertificateRequest
	testenv.Eventually(t, "the daemon's request", func() (err error) {
		own, err = get("admitted", "web-1", &cmapi.CertificateRequest{})
		return err
	})
	if own.Spec.Username != "system:serviceaccount:cert-manager:trustglass" || own.Spec.UID == "" || len(own.Spec.Groups) < 3 {
		t.Errorf("made by %q (%s) of %v", own.Spec.Username, own.Spec.UID, own.Spec.Groups)
	}
	tenant := as(t, "tenant")
	approve := func(c client.Client) error {
		r, err := get("admitted", "web-1", &cmapi.CertificateRequest{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		r.Status.Conditions = append(r.Status.Conditions, cmapi.CertificateRequestCondition{Type: "Approved", Status: "True", Reason: "ok", LastTransitionTime: &now})
		return c.Status().Update(ctx, r)
	}
	if err := approve(tenant); err == nil || !strings.Contains(err.Error(), "does not have permissions to set approved/denied conditions") {
		t.Errorf("approval by a user without the right: %v", err)
	}
	create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "approver"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"cert-manager.io"}, Resources: []string{"signers"}, ResourceNames: []string{"issuers.cert-manager.io/admitted.self"}, Verbs: []string{"approve"}},
	}})
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "approver"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "approver"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "tenant"}},
	})
	testenv.Eventually(t, "approval by a user with the right", func() error { return approve(tenant) })
	waitReady(t, "admitted", "web")

	// Somebody else's request gets its maker's name, whatever it says.
	forged := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "admitted", Name: "forged"}, Spec: own.Spec}
	forged.Spec.Username, forged.Spec.Groups = "system:admin", []string{"system:masters"}
	if err := tenant.Create(ctx, forged); err != nil {
		t.Fatal(err)
	}
	if forged.Spec.Username != "tenant" || len(forged.Spec.Groups) != 1 {
		t.Errorf("the forged request is of %q, groups %v", forged.Spec.Username, forged.Spec.Groups)
	}
	forged.Spec.Username = "system:admin"
	if err := errors.Join(tenant.Update(ctx, forged)); err == nil {
		t.Error("a request's maker can be changed afterwards")
	}
}
