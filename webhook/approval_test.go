package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
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

// asker is an API server that is asked about users' rights, and nothing else.
type asker struct {
	client.Client
	answer func(context.Context, *authorizationv1.SubjectAccessReview) (bool, error)
}

func (a *asker) Create(ctx context.Context, obj client.Object, _ ...client.CreateOption) (err error) {
	review := obj.(*authorizationv1.SubjectAccessReview)
	review.Status.Allowed, err = a.answer(ctx, review)
	return err
}

// mapped is a RESTMapper that knows what it is told to.
type mapped struct {
	meta.RESTMapper
	answer func(schema.GroupKind) (*meta.RESTMapping, error)
}

func (m mapped) RESTMapping(gk schema.GroupKind, _ ...string) (*meta.RESTMapping, error) {
	return m.answer(gk)
}

// A right that is given or taken counts a second later, a kind that is found for half a minute, one that is not for two seconds. A
// RESTMapper costs requests: there is one for each lookup, however often it is asked.
func TestApprovalsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var questions, mappers, lookups int
		known := false
		a := newApprovals(
			&asker{answer: func(_ context.Context, review *authorizationv1.SubjectAccessReview) (bool, error) {
				questions++
				return review.Spec.ResourceAttributes.Name == "issuers.cert-manager.io/*", nil
			}},
			func(context.Context) (meta.RESTMapper, error) {
				mappers++
				return mapped{answer: func(gk schema.GroupKind) (*meta.RESTMapping, error) {
					if lookups++; !known {
						return nil, &meta.NoKindMatchError{GroupKind: gk}
					}
					return &meta.RESTMapping{Resource: schema.GroupVersionResource{Group: gk.Group, Resource: "issuers"}, Scope: meta.RESTScopeNamespace}, nil
				}}, nil
			})
		own := approval{issuer: cmmeta.IssuerReference{Name: "ca"}, namespace: "ns"}
		external := approval{issuer: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "example.io"}, namespace: "ns"}
		bob := alice
		bob.Username = "bob"
		for i, step := range []struct {
			after                       time.Duration
			user                        *authenticationv1.UserInfo
			on                          approval
			known                       bool
			want                        string // of the refusal
			questions, mappers, lookups int
		}{
			{0, &alice, own, false, "", 1, 0, 0},
			{0, &alice, own, false, "", 1, 0, 0},
			{0, &bob, own, false, "", 2, 0, 0},
			{answerTTL - 1, &alice, own, false, "", 2, 0, 0},
			{1, &alice, own, false, "", 3, 0, 0},
			{0, &alice, external, false, "does not exist", 3, 1, 11}, // during one second, ten times a second
			{unknownTTL - 1, &alice, external, true, "does not exist", 3, 1, 11},
			{1, &alice, external, true, `user "alice" does not have`, 5, 2, 12},
			{kindTTL - 1, &alice, external, false, `user "alice" does not have`, 7, 2, 12},
			{1, &alice, external, false, "does not exist", 7, 3, 23},
		} {
			<-time.After(step.after)
			known = step.known
			problem, err := a.check(t.Context(), step.user, step.on)
			if err != nil || (problem == nil) != (step.want == "") || problem != nil && !strings.Contains(problem.Error(), step.want) {
				t.Errorf("%d: %v, %v", i, problem, err)
			}
			if questions != step.questions || mappers != step.mappers || lookups != step.lookups {
				t.Fatalf("%d: %d questions, %d mappers, %d lookups", i, questions, mappers, lookups)
			}
		}
	})
}

// What can't be a name is not looked for, nor repeated to whoever sent it.
func TestLongNames(t *testing.T) {
	always := &asker{answer: func(context.Context, *authorizationv1.SubjectAccessReview) (bool, error) { return true, nil }}
	a := newApprovals(always, nil) // a lookup would panic
	long := strings.Repeat("a", 254)
	ca := cmmeta.IssuerReference{Name: "ca"}
	for _, tc := range []struct {
		want string // empty: permitted
		on   approval
	}{
		{"", approval{issuer: cmmeta.IssuerReference{Name: long[:253]}, namespace: long[:63]}},
		{"spec.issuerRef.group: Too long: may not be more than 253 bytes", approval{issuer: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: long}}},
		{"spec.issuerRef.kind: Too long: may not be more than 63 bytes", approval{issuer: cmmeta.IssuerReference{Name: "ca", Kind: long[:64], Group: "example.io"}}},
		{"spec.issuerRef.name: Too long: may not be more than 253 bytes", approval{issuer: cmmeta.IssuerReference{Name: long}}},
		{"metadata.namespace: Too long: may not be more than 63 bytes", approval{issuer: ca, namespace: long[:64]}},
	} {
		got := ""
		if problem, err := a.check(t.Context(), &alice, tc.on); err != nil {
			t.Error(err)
		} else if problem != nil {
			got = problem.Error()
		}
		if got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// An API server that does not answer holds a lookup no longer than its context.
func TestLookupEnds(t *testing.T) {
	asked := make(chan struct{}, 1)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer silent.Close()
	defer silent.CloseClientConnections()
	for _, httpClient := range []*http.Client{silent.Client(), {}} {
		ctx, cancel := context.WithCancel(t.Context())
		mapper, err := mappers(&rest.Config{Host: silent.URL}, httpClient)(ctx)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := mapper.RESTMapping(schema.GroupKind{Group: "example.io", Kind: "Issuer"})
			done <- err
		}()
		<-asked
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the lookup does not end")
		}
	}
}
