package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

var alice = authenticationv1.UserInfo{
	Username: "alice", UID: "u", Groups: []string{"a", "b"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}},
}

// request returns an admission request; a nil object is left out. The subresource follows the resource behind a slash.
func request(t testing.TB, op admissionv1.Operation, resource string, old, obj any) *admissionv1.AdmissionRequest {
	t.Helper()
	group := cmapi.SchemeGroupVersion.Group
	resource, sub, _ := strings.Cut(resource, "/")
	if resource == "orders" || resource == "challenges" {
		group = cmacme.SchemeGroupVersion.Group
	}
	raw := func(o any) (e runtime.RawExtension) {
		if o != nil {
			var err error
			if e.Raw, err = json.Marshal(o); err != nil {
				t.Fatal(err)
			}
		}
		return e
	}
	return &admissionv1.AdmissionRequest{
		Operation: op, Resource: metav1.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, SubResource: sub,
		UserInfo: alice, OldObject: raw(old), Object: raw(obj),
	}
}

func TestMutate(t *testing.T) {
	type spec = cmapi.CertificateRequestSpec
	extra := map[string][]string{"k": {"v"}}
	for _, tc := range []struct {
		reason string
		req    *admissionv1.AdmissionRequest
		want   []patchOp
	}{
		{"who makes a request is written into it", request(t, "CREATE", "certificaterequests", nil, cmapi.CertificateRequest{}), []patchOp{
			{"add", "/spec/username", "alice"}, {"add", "/spec/uid", "u"}, {"add", "/spec/groups", []string{"a", "b"}}, {"add", "/spec/extra", extra},
		}},
		{"whatever it says", request(t, "CREATE", "certificaterequests", nil, cmapi.CertificateRequest{Spec: spec{Username: "mallory", UID: "u", Groups: []string{"b", "a"}, Extra: extra}}), []patchOp{
			{"add", "/spec/username", "alice"}, {"add", "/spec/groups", []string{"a", "b"}},
		}},
		{"once", request(t, "UPDATE", "certificaterequests", cmapi.CertificateRequest{}, cmapi.CertificateRequest{}), nil},
		{"and into nothing else", request(t, "CREATE", "certificates", nil, cmapi.Certificate{}), nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := mutate(tc.req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.patch); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
		})
	}
	nobody := request(t, "CREATE", "certificaterequests", nil, cmapi.CertificateRequest{Spec: spec{Username: "m", UID: "m", Groups: []string{"m"}, Extra: extra}})
	nobody.UserInfo = authenticationv1.UserInfo{}
	got, err := mutate(nobody)
	want := []patchOp{{Op: "remove", Path: "/spec/username"}, {Op: "remove", Path: "/spec/uid"}, {Op: "remove", Path: "/spec/groups"}, {Op: "remove", Path: "/spec/extra"}}
	if diff := cmp.Diff(want, got.patch); diff != "" || err != nil {
		t.Errorf("%v, patch (-want +got):\n%s", err, diff)
	}
}

func TestValidate(t *testing.T) {
	type meta = metav1.ObjectMeta
	bad := cmapi.Certificate{}
	labelled := cmapi.Certificate{ObjectMeta: meta{Labels: map[string]string{"a": "b"}}}
	approved := cmapi.CertificateRequest{Status: cmapi.CertificateRequestStatus{Conditions: []cmapi.CertificateRequestCondition{{Type: "Approved", Status: "True"}}}}
	other := cmapi.CertificateRequest{Spec: cmapi.CertificateRequestSpec{IsCA: true}}
	for _, tc := range []struct {
		reason string
		req    *admissionv1.AdmissionRequest
		want   string // the start of the first problem; empty: allowed
		judged bool
	}{
		{"a bad Certificate", request(t, "CREATE", "certificates", nil, bad), "spec.secretName: Required value", false},
		{"a Certificate that becomes bad", request(t, "UPDATE", "certificates", cmapi.Certificate{Spec: cmapi.CertificateSpec{SecretName: "a"}}, bad), "spec.secretName: Required value", false},
		{"a bad Certificate that is there may be labelled", request(t, "UPDATE", "certificates", bad, labelled), "", false},
		{"and gets a status", request(t, "UPDATE", "certificates/status", bad, bad), "", false},
		{"and may go", request(t, "DELETE", "certificates", bad, nil), "", false},
		{"a bad Issuer", request(t, "CREATE", "issuers", nil, cmapi.Issuer{}), "spec: Required value", false},
		{"a bad ClusterIssuer", request(t, "CREATE", "clusterissuers", nil, cmapi.ClusterIssuer{}), "spec: Required value", false},
		{"a bad request", request(t, "CREATE", "certificaterequests", nil, cmapi.CertificateRequest{}), "spec.issuerRef.name: Required value", false},
		{"a request that is changed", request(t, "UPDATE", "certificaterequests", cmapi.CertificateRequest{}, other), "spec: Forbidden", false},
		{"a request that is approved", request(t, "UPDATE", "certificaterequests/status", cmapi.CertificateRequest{}, approved), "", true},
		{"a request that is not approved any more", request(t, "UPDATE", "certificaterequests/status", approved, cmapi.CertificateRequest{}), "status.conditions: Forbidden", false},
		{"an Order that is changed", request(t, "UPDATE", "orders", cmacme.Order{}, cmacme.Order{Spec: cmacme.OrderSpec{Request: []byte("a")}}), "spec.request: Forbidden", false},
		{"an Order's answer that is changed", request(t, "UPDATE", "orders/status", cmacme.Order{Status: cmacme.OrderStatus{URL: "a"}}, cmacme.Order{}), "status.url: Forbidden", false},
		{"a Challenge that is changed", request(t, "UPDATE", "challenges", cmacme.Challenge{}, cmacme.Challenge{Spec: cmacme.ChallengeSpec{Key: "a"}}), "spec: Forbidden", false},
		{"a new Challenge", request(t, "CREATE", "challenges", nil, cmacme.Challenge{}), "", false},
		{"what is not ours to judge", request(t, "CREATE", "widgets", nil, 7), "", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			v, err := validate(tc.req)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(v.problems) > 0 {
				got = v.problems[0].Error()
			}
			if (tc.want == "") != (got == "") || !strings.HasPrefix(got, tc.want) || (v.judged != nil) != tc.judged {
				t.Errorf("%q, judged: %v", got, v.judged != nil)
			}
		})
	}
	if _, err := validate(&admissionv1.AdmissionRequest{
		Operation: "CREATE", Resource: metav1.GroupVersionResource{Group: "cert-manager.io", Resource: "issuers"}, Object: runtime.RawExtension{Raw: []byte("{")},
	}); err == nil {
		t.Error("half an object is allowed")
	}
}

func TestForeignIdentity(t *testing.T) {
	own := cmapi.CertificateRequestSpec{Username: "alice", UID: "u", Groups: []string{"b", "a"}, Extra: map[string][]string{"k": {"v"}}}
	if list := foreignIdentity(&own, &alice); len(list) > 0 {
		t.Errorf("her own request is refused: %v", list.ToAggregate())
	}
	if list := foreignIdentity(&cmapi.CertificateRequestSpec{Username: "mallory"}, &alice); len(list) != 4 {
		t.Errorf("somebody else's request: %v", list.ToAggregate())
	}
}
