package webhook

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func crd(group, scope string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "issuers." + group},
		"spec": map[string]any{
			"group": group, "scope": scope, "names": map[string]any{"plural": "issuers", "kind": "Issuer"},
			"versions": []any{map[string]any{"name": "v1alpha1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
		},
	}}
}

func TestApproval(t *testing.T) {
	l := newLab(t)
	l.install()
	l.start()
	l.eventuallyAdmitted()
	own := cmmeta.IssuerReference{Name: "ca"}
	external := func(group string) cmmeta.IssuerReference {
		return cmmeta.IssuerReference{Name: "step", Kind: "Issuer", Group: group}
	}
	for i, tc := range []struct {
		reason string
		user   string
		ref    cmmeta.IssuerReference
		scope  string   // of a kind that is created right before
		signs  []string // what the user may approve for
		want   string   // empty: permitted
	}{
		{"nobody may without a right", "u0", own, "", nil, `status.conditions: Forbidden: user "u0" does not have permissions to set approved/denied conditions for issuer {ca  }`},
		{"every Issuer's", "u1", own, "", []string{"issuers.cert-manager.io/*"}, ""},
		{"this Issuer's", "u2", own, "", []string{"issuers.cert-manager.io/" + l.ns + ".ca"}, ""},
		{"an Issuer of that name elsewhere", "u3", own, "", []string{"issuers.cert-manager.io/other.ca"}, `status.conditions: Forbidden: user "u3"`},
		{"a ClusterIssuer has no namespace", "u4", cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, "", []string{"clusterissuers.cert-manager.io/ca"}, ""},
		{"a right for Issuers is none for ClusterIssuers", "u5", cmmeta.IssuerReference{Name: "ca", Kind: "ClusterIssuer"}, "", []string{"issuers.cert-manager.io/*"}, `status.conditions: Forbidden: user "u5"`},
		{"a kind that does not exist", "u6", external("u6.example.io"), "", []string{"issuers.u6.example.io/*"}, "spec.issuerRef: Forbidden: referenced signer resource does not exist: {step Issuer u6.example.io}"},
		{"a namespaced kind that has just come", "u7", external("u7.example.io"), "Namespaced", []string{"issuers.u7.example.io/" + l.ns + ".step"}, ""},
		{"a namespaced kind by name alone", "u8", external("u8.example.io"), "Namespaced", []string{"issuers.u8.example.io/step"}, `status.conditions: Forbidden: user "u8"`},
		{"a cluster-wide kind", "u9", external("u9.example.io"), "Cluster", []string{"issuers.u9.example.io/step"}, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			l.allow(tc.user, nil, "update", "certificaterequests/status")
			if tc.signs != nil {
				l.allow(tc.user, tc.signs, "approve", "signers")
			}
			r := l.request(fmt.Sprintf("r%d", i), tc.ref)
			if err := testenv.Admin().Create(ctx, r); err != nil {
				t.Fatal(err)
			}
			if tc.scope != "" {
				def := crd(tc.ref.Group, tc.scope)
				if err := testenv.Admin().Create(ctx, def); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = testenv.Admin().Delete(ctx, def) })
			}
			verdict := cmapi.CertificateRequestConditionApproved
			if i%2 == 1 {
				verdict = cmapi.CertificateRequestConditionDenied
			}
			r.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: verdict, Status: "True", Reason: "test"}}
			var err error
			testenv.Eventually(t, "the API server to have heard of the rights", func() error {
				err = l.as(tc.user).Status().Update(ctx, r.DeepCopy())
				if apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "denied the request") {
					return err // RBAC's informers are behind
				}
				if tc.want == "" {
					return err // so are the authorizer's answers, for a second
				}
				return nil
			})
			if tc.want != "" {
				refused(t, err, tc.want)
			}
		})
	}
	r := l.request("ours", own)
	if err := testenv.Admin().Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	daemon, err := client.New(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	r.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: "Approved", Status: "True", Reason: "cert-manager.io"}}
	if err := daemon.Status().Update(ctx, r); err != nil {
		t.Errorf("the daemon approves: %v", err)
	}
	r.Status.Conditions[0].Message = "reworded"
	refused(t, testenv.Admin().Status().Update(ctx, r), "status.conditions: Forbidden: condition Approved can't be changed or removed")
}
