package signingrequest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

func TestParseSignerName(t *testing.T) {
	for _, tc := range []struct {
		reason, in string
		want       SignerName
		ok         bool
	}{
		{"an Issuer", "issuers.cert-manager.io/team-a.ca", SignerName{"Issuer", "team-a", "ca"}, true},
		{"an Issuer whose name has dots: a namespace has none", "issuers.cert-manager.io/a.ca.example.org", SignerName{"Issuer", "a", "ca.example.org"}, true},
		{"a ClusterIssuer", "clusterissuers.cert-manager.io/ca", SignerName{"ClusterIssuer", "", "ca"}, true},
		{"a ClusterIssuer whose name has dots", "clusterissuers.cert-manager.io/a.ca", SignerName{"ClusterIssuer", "", "a.ca"}, true},
		{"an Issuer without a namespace", "issuers.cert-manager.io/ca", SignerName{Kind: "Issuer"}, true},
		{"an Issuer with an empty namespace", "issuers.cert-manager.io/.ca", SignerName{Kind: "Issuer"}, true},
		{"an Issuer with an empty name", "issuers.cert-manager.io/a.", SignerName{Kind: "Issuer"}, true},
		{"a ClusterIssuer with no name", "clusterissuers.cert-manager.io/", SignerName{Kind: "ClusterIssuer"}, true},
		{"a domain alone", "issuers.cert-manager.io", SignerName{Kind: "Issuer"}, true},
		{"two slashes", "issuers.cert-manager.io/a.ca/b", SignerName{Kind: "Issuer"}, true},
		{"two slashes for a ClusterIssuer", "clusterissuers.cert-manager.io/a/b", SignerName{Kind: "ClusterIssuer"}, true},
		{"the kubelet's", "kubernetes.io/kubelet-serving", SignerName{}, false},
		{"an external issuer's", "stepissuers.certmanager.step.sm/a.ca", SignerName{}, false},
		{"our group, another kind", "widgets.cert-manager.io/a.ca", SignerName{}, false},
		{"another group that ends like ours", "issuers.not-cert-manager.io/a.ca", SignerName{}, false},
		{"nothing", "", SignerName{}, false},
	} {
		got, ok := ParseSignerName(tc.in)
		if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
			t.Errorf("%s: ok %t, -want +got\n%s", tc.reason, ok, diff)
		}
	}
}

func TestParseAsk(t *testing.T) {
	day := 24 * time.Hour
	for _, tc := range []struct {
		reason      string
		annotations map[string]string
		expires     *int32
		want        Ask
		err         string
	}{
		{"nothing is said", nil, nil, Ask{Duration: 90 * day}, ""},
		{"expirationSeconds", nil, ptr.To[int32](3600), Ask{Duration: time.Hour}, ""},
		{"the annotation wins", map[string]string{annDuration: "48h"}, ptr.To[int32](3600), Ask{Duration: 2 * day}, ""},
		{"a CA with a key Secret", map[string]string{annIsCA: "true", annKeySecret: "key"}, nil, Ask{Duration: 90 * day, IsCA: true, KeySecret: "key"}, ""},
		{"only \"true\" is true", map[string]string{annIsCA: "True"}, nil, Ask{Duration: 90 * day}, ""},
		{"no duration", map[string]string{annDuration: "90d"}, nil, Ask{}, "annotation experimental.cert-manager.io/request-duration: time: unknown unit"},
		{"an empty one does not fall back", map[string]string{annDuration: ""}, ptr.To[int32](3600), Ask{}, "invalid duration"},
		{"a very long one", map[string]string{annDuration: strings.Repeat("1h", 100)}, nil, Ask{}, "too long"},
	} {
		got, err := ParseAsk(tc.annotations, tc.expires)
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, -want +got\n%s", tc.reason, err, diff)
		}
	}
}

func TestCertificateRequestSpec(t *testing.T) {
	req := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: []byte("csr"), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageSMIME},
	}}
	want := cmapi.CertificateRequestSpec{
		Request: []byte("csr"), IsCA: true, Duration: &metav1.Duration{Duration: time.Hour},
		IssuerRef: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"},
		Usages:    []cmapi.KeyUsage{cmapi.UsageClientAuth, cmapi.UsageSMIME},
	}
	got := certificateRequestSpec(req, SignerName{"Issuer", "a", "ca"}, Ask{Duration: time.Hour, IsCA: true, KeySecret: "key"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What is left of a request says the same of what is to be done about it, and holds neither its CSR, nor its chain, nor who asked.
func TestTrim(t *testing.T) {
	req := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1", ResourceVersion: "2", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{annKeySecret: "key", annDuration: "1h"}},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: "clusterissuers.cert-manager.io/ca", Request: []byte("csr"), Username: "alice", Groups: []string{"devs"},
		},
		Status: certificatesv1.CertificateSigningRequestStatus{
			Certificate: []byte("chain"), Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved}},
		},
	}
	want := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1", ResourceVersion: "2", Annotations: map[string]string{annKeySecret: "key"}},
		Spec:       certificatesv1.CertificateSigningRequestSpec{SignerName: "clusterissuers.cert-manager.io/ca"},
		Status:     certificatesv1.CertificateSigningRequestStatus{Certificate: []byte("-"), Conditions: req.Status.Conditions},
	}
	Trim(req)
	if diff := cmp.Diff(want, req); diff != "" || !settled(req) {
		t.Errorf("-want +got\n%s", diff)
	}
	req.Status.Certificate = nil
	Trim(req)
	if !signable(req) {
		t.Error("a trimmed request that can be signed does not look like it")
	}
}

// What parses as an issuer's name is made of the text's own parts, and nothing else names an issuer.
func FuzzParseSignerName(f *testing.F) {
	for _, s := range []string{"issuers.cert-manager.io/a.b", "clusterissuers.cert-manager.io/a.b", "issuers.cert-manager.io/a", "a/b/c", "kubernetes.io/legacy-unknown", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := ParseSignerName(text)
		switch {
		case !ok:
			if n != (SignerName{}) {
				t.Fatalf("%q is not ours, and names %s", text, n)
			}
		case n.Name == "":
			if n.Namespace != "" {
				t.Fatalf("%q names no issuer in a namespace", text)
			}
		case n.Kind == cmapi.ClusterIssuerKind:
			if text != clusterIssuers+"/"+n.Name || n.Namespace != "" || strings.Contains(n.Name, "/") {
				t.Fatalf("%q: %+v", text, n)
			}
		default:
			if text != issuers+"/"+n.Namespace+"."+n.Name || n.Namespace == "" || strings.Contains(n.Namespace, ".") || strings.Contains(n.Namespace+n.Name, "/") {
				t.Fatalf("%q: %+v", text, n)
			}
		}
	})
}

// Whatever the annotations say, what parses is what was written, and what does not says which annotation it is.
func FuzzParseAsk(f *testing.F) {
	f.Add("24h", "true", "key", int32(3600))
	f.Add("-1h", "false", "", int32(-1))
	f.Add("9223372036854775807h", "1", "..", int32(0))
	f.Fuzz(func(t *testing.T, duration, isCA, key string, expires int32) {
		annotations := map[string]string{annIsCA: isCA, annKeySecret: key}
		if duration != "" {
			annotations[annDuration] = duration
		}
		ask, err := ParseAsk(annotations, &expires)
		if err != nil {
			if !strings.Contains(err.Error(), annDuration) || len(err.Error()) > 1000 || ask != (Ask{}) {
				t.Fatalf("%v with %+v", err, ask)
			}
			return
		}
		if duration == "" && ask.Duration != time.Duration(expires)*time.Second || ask.IsCA != (isCA == "true") || ask.KeySecret != key {
			t.Fatalf("%q, %q, %q, %d: %+v", duration, isCA, key, expires, ask)
		}
	})
}
