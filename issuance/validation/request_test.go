package validation

import (
	"bytes"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// newCSR returns a CSR as a Certificate with this spec would ask for it.
func newCSR(t testing.TB, change func(*spec)) []byte {
	t.Helper()
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewRequest(&newCertificate(change).Spec, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestCertificateRequest(t *testing.T) {
	silent := newCSR(t, func(s *spec) { s.EncodeUsagesInRequest = ptr.To(false) })
	server := newCSR(t, func(s *spec) { s.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth} })
	ca := newCSR(t, func(s *spec) { s.IsCA = true })
	forged := bytes.Replace(silent, []byte("M"), []byte("N"), 1)
	for _, tc := range []struct {
		reason string
		spec   cmapi.CertificateRequestSpec
		want   string
	}{
		{"a CSR that says nothing of usages", cmapi.CertificateRequestSpec{Request: silent, Usages: []cmapi.KeyUsage{cmapi.UsageClientAuth}}, ""},
		{"a CSR that says the same", cmapi.CertificateRequestSpec{Request: server, Usages: []cmapi.KeyUsage{cmapi.UsageServerAuth}}, ""},
		{"a CSR of other extended usages", cmapi.CertificateRequestSpec{Request: server, Usages: []cmapi.KeyUsage{cmapi.UsageClientAuth}},
			"spec.request: Invalid value: the extended key usages in the CSR are not those of spec.usages"},
		{"a CA's CSR", cmapi.CertificateRequestSpec{Request: ca, IsCA: true}, ""},
		{"a CA's CSR that is to be no CA", cmapi.CertificateRequestSpec{Request: ca}, "spec.request: Invalid value: the key usages in the CSR are not those of spec.usages"},
		{"no CSR", cmapi.CertificateRequestSpec{}, "spec.request: Required value"},
		{"garbage", cmapi.CertificateRequestSpec{Request: []byte("garbage")}, "spec.request: Invalid value: no PEM block of type CERTIFICATE REQUEST found"},
		{"a damaged CSR", cmapi.CertificateRequestSpec{Request: forged}, "spec.request: Invalid value: "},
		{"an oversized CSR", cmapi.CertificateRequestSpec{Request: make([]byte, pki.MaxRequestBytes+1)}, "spec.request: Invalid value: the request has 65537 bytes"},
		{"an unknown usage", cmapi.CertificateRequestSpec{Request: silent, Usages: []cmapi.KeyUsage{"all"}}, `spec.usages[0]: Invalid value: "all"`},
		{"no lifetime", cmapi.CertificateRequestSpec{Request: silent, Duration: during(-time.Hour)}, `spec.duration: Invalid value: "-1h0m0s": must be more than 0`},
		{"a kind that is not ours needs its group", cmapi.CertificateRequestSpec{Request: silent, IssuerRef: cmmeta.IssuerReference{Name: "a", Kind: "X"}}, `spec.issuerRef.kind: Invalid value: "X"`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if tc.spec.IssuerRef.Name == "" {
				tc.spec.IssuerRef.Name = "ca"
			}
			expect(t, CertificateRequest(&cmapi.CertificateRequest{Spec: tc.spec}), tc.want)
		})
	}
	expect(t, CertificateRequest(&cmapi.CertificateRequest{Spec: cmapi.CertificateRequestSpec{Request: silent}}), "spec.issuerRef.name: Required value")
}

func TestCertificateRequestUpdate(t *testing.T) {
	for _, tc := range []struct {
		reason string
		change func(*cmapi.CertificateRequest)
		want   string
	}{
		{"nothing", func(*cmapi.CertificateRequest) {}, ""},
		{"an annotation of somebody's", func(r *cmapi.CertificateRequest) { r.Annotations["venafi.cert-manager.io/pickup-id"] = "7" }, ""},
		{"a label", func(r *cmapi.CertificateRequest) { r.Labels = map[string]string{"cert-manager.io/a": "b"} }, ""},
		{"the spec", func(r *cmapi.CertificateRequest) { r.Spec.IsCA = true }, "spec: Forbidden: a request can't be changed"},
		{"who made it", func(r *cmapi.CertificateRequest) { r.Spec.Username = "mallory" }, "spec: Forbidden: a request can't be changed"},
		{"an annotation of ours added", func(r *cmapi.CertificateRequest) { r.Annotations["cert-manager.io/b"] = "" }, "metadata.annotations[cert-manager.io/b]: Forbidden: can't be added, changed or removed"},
		{"an annotation of ours changed", func(r *cmapi.CertificateRequest) { r.Annotations["cert-manager.io/certificate-name"] = "b" }, "metadata.annotations[cert-manager.io/certificate-name]: Forbidden"},
		{"an annotation of ours removed", func(r *cmapi.CertificateRequest) { delete(r.Annotations, "acme.cert-manager.io/a") }, "metadata.annotations[acme.cert-manager.io/a]: Forbidden"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			old := &cmapi.CertificateRequest{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"cert-manager.io/certificate-name": "a", "acme.cert-manager.io/a": "b"}},
				Spec:       cmapi.CertificateRequestSpec{Request: []byte("a"), Username: "alice"},
			}
			changed := old.DeepCopy()
			tc.change(changed)
			expect(t, CertificateRequestUpdate(old, changed), tc.want)
		})
	}
}

func TestCertificateRequestStatusUpdate(t *testing.T) {
	type condition = cmapi.CertificateRequestCondition
	approved := condition{Type: "Approved", Status: "True", Reason: "me"}
	denied := condition{Type: "Denied", Status: "True", Reason: "me"}
	ready := condition{Type: "Ready", Status: "True"}
	for _, tc := range []struct {
		reason   string
		was, is  []condition
		want     string
		judgment bool
	}{
		{"nothing", nil, nil, "", false},
		{"readiness is no verdict", nil, []condition{ready}, "", false},
		{"approved", nil, []condition{approved}, "", true},
		{"denied", nil, []condition{denied}, "", true},
		{"signed after it was approved", []condition{approved}, []condition{approved, ready}, "", false},
		{"not approved is not a verdict", nil, []condition{{Type: "Approved", Status: "False"}}, `status.conditions: Invalid value: "False": the status of condition Approved must be True`, true},
		{"both at once", nil, []condition{approved, denied}, "status.conditions: Forbidden: a request can't be both", true},
		{"denied after it was approved", []condition{approved}, []condition{approved, denied}, "status.conditions: Forbidden: a request can't be both", true},
		{"twice", nil, []condition{denied, denied}, "status.conditions: Forbidden: there can be one condition Denied at most", true},
		{"taken back", []condition{approved}, nil, "status.conditions: Forbidden: condition Approved can't be changed or removed", false},
		{"reworded", []condition{denied}, []condition{{Type: "Denied", Status: "True", Reason: "somebody else"}}, "status.conditions: Forbidden: condition Denied can't be changed or removed", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			old := &cmapi.CertificateRequest{Status: cmapi.CertificateRequestStatus{Conditions: tc.was}}
			changed := &cmapi.CertificateRequest{Status: cmapi.CertificateRequestStatus{Conditions: tc.is}}
			expect(t, CertificateRequestStatusUpdate(old, changed), tc.want)
			if got := Judged(old, changed); got != tc.judgment {
				t.Errorf("judged: %v", got)
			}
		})
	}
}

func TestOrderUpdate(t *testing.T) {
	for _, tc := range []struct {
		reason string
		change func(*cmacme.Order)
		want   string
	}{
		{"what is not set yet", func(o *cmacme.Order) { o.Status.Certificate, o.Status.FinalizeURL = []byte("x"), "https://b" }, ""},
		{"the state", func(o *cmacme.Order) { o.Status.State = cmacme.Valid }, ""},
		{"the request", func(o *cmacme.Order) { o.Spec.Request = []byte("b") }, "spec.request: Forbidden"},
		{"the URL", func(o *cmacme.Order) { o.Status.URL = "https://b" }, "status.url: Forbidden: can't be changed once it is set"},
		{"the authorizations", func(o *cmacme.Order) { o.Status.Authorizations = nil }, "status.authorizations: Forbidden"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			old := &cmacme.Order{Spec: cmacme.OrderSpec{Request: []byte("a")}, Status: cmacme.OrderStatus{URL: "https://a", Authorizations: []cmacme.ACMEAuthorization{{URL: "https://a/1"}}}}
			changed := old.DeepCopy()
			tc.change(changed)
			expect(t, OrderUpdate(old, changed), tc.want)
		})
	}
	set := &cmacme.Order{Status: cmacme.OrderStatus{FinalizeURL: "https://a", Certificate: []byte("a")}}
	if n := len(OrderUpdate(set, &cmacme.Order{})); n != 2 {
		t.Errorf("%d errors for a finalizeURL and a certificate that are gone, want 2", n)
	}
}

func TestChallengeUpdate(t *testing.T) {
	old := &cmacme.Challenge{Spec: cmacme.ChallengeSpec{Token: "a"}}
	changed := old.DeepCopy()
	changed.Status.Presented = true
	expect(t, ChallengeUpdate(old, changed), "")
	changed.Spec.Token = "b"
	expect(t, ChallengeUpdate(old, changed), "spec: Forbidden: a Challenge can't be changed")
}
