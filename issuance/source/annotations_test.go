package source

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// policy is the daemon's default.
func policy() Policy {
	return Policy{
		DefaultIssuer:              cmmeta.IssuerReference{Kind: "Issuer", Group: "cert-manager.io"},
		AutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"},
	}
}

// with returns annotations that ask, and these.
func with(pairs ...string) map[string]string {
	out := map[string]string{"cert-manager.io/issuer": "ca"}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func spec(set func(*cmapi.CertificateSpec)) *Wish {
	w := &Wish{Spec: cmapi.CertificateSpec{IssuerRef: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"}}}
	set(&w.Spec)
	return w
}

func hours(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * time.Hour} }

func TestParseWish(t *testing.T) {
	for _, tc := range []struct {
		reason string
		a      map[string]string
		want   *Wish
	}{
		{"nothing is asked for", map[string]string{"cert-manager.io/common-name": "x"}, nil},
		{"an issuer alone", with(), spec(func(*cmapi.CertificateSpec) {})},
		{"names", with("cert-manager.io/common-name", "a.example", "cert-manager.io/alt-names", "b.example, c.example,,",
			"cert-manager.io/ip-sans", "10.0.0.1,::1", "cert-manager.io/email-sans", "a@b.example", "cert-manager.io/uri-sans", "spiffe://not/read"),
			spec(func(s *cmapi.CertificateSpec) {
				s.CommonName, s.DNSNames = "a.example", []string{"b.example", "c.example"}
				s.IPAddresses, s.EmailAddresses = []string{"10.0.0.1", "::1"}, []string{"a@b.example"}
			})},
		{"empty lists are none", with("cert-manager.io/alt-names", "", "cert-manager.io/ip-sans", "", "cert-manager.io/email-sans", " ",
			"cert-manager.io/subject-countries", "", "cert-manager.io/subject-serialnumber", ""), spec(func(*cmapi.CertificateSpec) {})},
		{"times", with("cert-manager.io/duration", "2160h", "cert-manager.io/renew-before", "360h", "cert-manager.io/revision-history-limit", "7"),
			spec(func(s *cmapi.CertificateSpec) {
				s.Duration, s.RenewBefore, s.RevisionHistoryLimit = hours(2160), hours(360), ptr.To[int32](7)
			})},
		{"a percentage", with("cert-manager.io/renew-before-percentage", "30"),
			spec(func(s *cmapi.CertificateSpec) { s.RenewBeforePercentage = ptr.To[int32](30) })},
		{"usages", with("cert-manager.io/usages", "digital signature, server auth"),
			spec(func(s *cmapi.CertificateSpec) { s.Usages = []cmapi.KeyUsage{"digital signature", "server auth"} })},
		{"a subject, with a comma in it", with("cert-manager.io/subject-organizations", `"Acme, Inc",Other`, "cert-manager.io/subject-organizationalunits", "ou",
			"cert-manager.io/subject-countries", "DE", "cert-manager.io/subject-provinces", "p", "cert-manager.io/subject-localities", "l",
			"cert-manager.io/subject-postalcodes", "1", "cert-manager.io/subject-streetaddresses", "s", "cert-manager.io/subject-serialnumber", "42"),
			spec(func(s *cmapi.CertificateSpec) {
				s.Subject = &cmapi.X509Subject{Organizations: []string{"Acme, Inc", "Other"}, OrganizationalUnits: []string{"ou"}, Countries: []string{"DE"},
					Provinces: []string{"p"}, Localities: []string{"l"}, PostalCodes: []string{"1"}, StreetAddresses: []string{"s"}, SerialNumber: "42"}
			})},
		{"a private key", with("cert-manager.io/private-key-algorithm", "ECDSA", "cert-manager.io/private-key-size", "384",
			"cert-manager.io/private-key-encoding", "PKCS8", "cert-manager.io/private-key-rotation-policy", "Never"),
			spec(func(s *cmapi.CertificateSpec) {
				s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: "ECDSA", Size: 384, Encoding: "PKCS8", RotationPolicy: "Never"}
			})},
		{"a template", with("cert-manager.io/secret-template", `{"annotations":{"a":"1"},"labels":{"b":"2"}}`),
			spec(func(s *cmapi.CertificateSpec) {
				s.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"a": "1"}, Labels: map[string]string{"b": "2"}}
			})},
		{"listeners to ignore", with("cert-manager.io/ignore-tls-listeners", "a, b"), &Wish{
			Spec: spec(func(*cmapi.CertificateSpec) {}).Spec, IgnoredListeners: []string{"a", "b"},
		}},
	} {
		got, err := ParseWish(KindIngress, tc.a, policy())
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestParseWishIssuer(t *testing.T) {
	defaulted := policy()
	defaulted.DefaultIssuer = cmmeta.IssuerReference{Name: "standard", Kind: "ClusterIssuer", Group: "cert-manager.io"}
	for _, tc := range []struct {
		reason string
		kind   string
		p      Policy
		a      map[string]string
		want   *cmmeta.IssuerReference
	}{
		{"an Issuer", KindIngress, policy(), map[string]string{"cert-manager.io/issuer": "x"}, &cmmeta.IssuerReference{Name: "x", Kind: "Issuer", Group: "cert-manager.io"}},
		{"a ClusterIssuer", KindGateway, policy(), map[string]string{"cert-manager.io/cluster-issuer": "x"}, &cmmeta.IssuerReference{Name: "x", Kind: "ClusterIssuer", Group: "cert-manager.io"}},
		{"an external one", KindIngress, policy(), map[string]string{"cert-manager.io/issuer": "x", "cert-manager.io/issuer-kind": "K", "cert-manager.io/issuer-group": "g.example"},
			&cmmeta.IssuerReference{Name: "x", Kind: "K", Group: "g.example"}},
		{"the default", KindIngress, defaulted, map[string]string{"kubernetes.io/tls-acme": "true"}, &defaulted.DefaultIssuer},
		{"the default, refined", KindIngress, defaulted, map[string]string{"kubernetes.io/tls-acme": "1", "cert-manager.io/issuer-kind": "Issuer"},
			&cmmeta.IssuerReference{Name: "standard", Kind: "Issuer", Group: "cert-manager.io"}},
		{"not asked for", KindIngress, defaulted, map[string]string{"kubernetes.io/tls-acme": "false"}, nil},
		{"asked for with something that is no truth value", KindIngress, defaulted, map[string]string{"kubernetes.io/tls-acme": "please"}, nil},
		{"on a Gateway nobody asks by a default", KindGateway, defaulted, map[string]string{"kubernetes.io/tls-acme": "true"}, nil},
		{"the default does not ask by itself", KindIngress, defaulted, nil, nil},
	} {
		got, err := ParseWish(tc.kind, tc.a, tc.p)
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		var ref *cmmeta.IssuerReference
		if got != nil {
			ref = &got.Spec.IssuerRef
		}
		if diff := cmp.Diff(tc.want, ref); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

// Every annotation that can be wrong is named by the error.
func TestParseWishRefuses(t *testing.T) {
	long := strings.Repeat("a", maxValue+1)
	for _, tc := range []struct {
		reason string
		a      map[string]string
		want   []string
	}{
		{"both issuers", with("cert-manager.io/cluster-issuer", "x"), []string{"cert-manager.io/issuer and cert-manager.io/cluster-issuer exclude"}},
		{"a ClusterIssuer of a kind and group", map[string]string{"cert-manager.io/cluster-issuer": "x", "cert-manager.io/issuer-kind": "K", "cert-manager.io/issuer-group": "g"},
			[]string{"cluster-issuer and cert-manager.io/issuer-kind exclude", "cluster-issuer and cert-manager.io/issuer-group exclude"}},
		{"no name", map[string]string{"cert-manager.io/issuer": ""}, []string{"no issuer: name one in annotation cert-manager.io/issuer"}},
		{"asked for without a default", map[string]string{"kubernetes.io/tls-acme": "true"}, []string{"no issuer"}},
		{"a kind without its group", with("cert-manager.io/issuer-kind", "K"), []string{`annotation cert-manager.io/issuer-kind: "K"`, "cert-manager.io/issuer-group"}},
		{"a long common name", with("cert-manager.io/common-name", long[:65]), []string{"annotation cert-manager.io/common-name: 65 bytes"}},
		{"a long value", with("cert-manager.io/alt-names", long), []string{"annotation cert-manager.io/alt-names: 32769 bytes"}},
		{"many names", with("cert-manager.io/alt-names", strings.Repeat("a,", 1001)), []string{"annotation cert-manager.io/alt-names: more than 1000"}},
		{"an IP", with("cert-manager.io/ip-sans", "10.0.0.256"), []string{`annotation cert-manager.io/ip-sans: "10.0.0.256"`}},
		{"an e-mail address", with("cert-manager.io/email-sans", "A <a@b.example>"), []string{"annotation cert-manager.io/email-sans"}},
		{"a quote", with("cert-manager.io/subject-organizations", `"a`), []string{"annotation cert-manager.io/subject-organizations: parsing"}},
		{"two lines", with("cert-manager.io/subject-countries", "a\nb"), []string{"annotation cert-manager.io/subject-countries: more than one line"}},
		{"a duration", with("cert-manager.io/duration", "90d"), []string{`annotation cert-manager.io/duration: "90d" is not a duration like`}},
		{"a short duration", with("cert-manager.io/duration", "59m"), []string{`annotation cert-manager.io/duration: Invalid value: "59m0s": must be at least 1h0m0s`}},
		{"renewal too late", with("cert-manager.io/renew-before", "1m"), []string{`annotation cert-manager.io/renew-before: Invalid value: "1m0s": must be at least 5m0s`}},
		{"renewal at once", with("cert-manager.io/duration", "1h", "cert-manager.io/renew-before", "1h"), []string{`annotation cert-manager.io/renew-before: Invalid value: "1h0m0s": must be less than the duration`}},
		{"two renewals", with("cert-manager.io/renew-before", "1h", "cert-manager.io/renew-before-percentage", "5"), []string{"annotation cert-manager.io/renew-before-percentage: Forbidden: excludes renewBefore"}},
		{"a percentage of a short duration", with("cert-manager.io/duration", "1h", "cert-manager.io/renew-before-percentage", "5"), []string{"annotation cert-manager.io/renew-before-percentage: "}},
		{"a name that is not ASCII", with("cert-manager.io/alt-names", "a.example,ä.example"), []string{`annotation cert-manager.io/alt-names: Invalid value: "ä.example"`}},
		{"a percentage", with("cert-manager.io/renew-before-percentage", "100"), []string{"annotation cert-manager.io/renew-before-percentage"}},
		{"a history", with("cert-manager.io/revision-history-limit", "0"), []string{"annotation cert-manager.io/revision-history-limit"}},
		{"a usage", with("cert-manager.io/usages", "flying"), []string{`annotation cert-manager.io/usages: unknown key usage "flying"`}},
		{"an algorithm", with("cert-manager.io/private-key-algorithm", "DSA"), []string{"annotation cert-manager.io/private-key-algorithm"}},
		{"an encoding", with("cert-manager.io/private-key-encoding", "PKCS7"), []string{"annotation cert-manager.io/private-key-encoding"}},
		{"a rotation", with("cert-manager.io/private-key-rotation-policy", "always"), []string{"annotation cert-manager.io/private-key-rotation-policy"}},
		{"a size", with("cert-manager.io/private-key-size", "1024"), []string{`annotation cert-manager.io/private-key-size: Invalid value: "1024": an RSA key has 2048`}},
		{"a size for another algorithm", with("cert-manager.io/private-key-algorithm", "ECDSA", "cert-manager.io/private-key-size", "2048"), []string{`annotation cert-manager.io/private-key-size: Invalid value: "2048": an ECDSA key`}},
		{"a size that is no number", with("cert-manager.io/private-key-size", "big"), []string{"annotation cert-manager.io/private-key-size"}},
		{"a template", with("cert-manager.io/secret-template", "{"), []string{"annotation cert-manager.io/secret-template: parsing it as JSON"}},
		{"all that is wrong is told", with("cert-manager.io/duration", "x", "cert-manager.io/ip-sans", "x"), []string{"cert-manager.io/ip-sans", "; annotation cert-manager.io/duration"}},
	} {
		got, err := ParseWish(KindIngress, tc.a, policy())
		if err == nil || got != nil {
			t.Errorf("%s: accepted as %+v", tc.reason, got)
			continue
		}
		for _, part := range tc.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", tc.reason, err, part)
			}
		}
	}
}

func TestInherit(t *testing.T) {
	parent := map[string]string{"cert-manager.io/cluster-issuer": "p", "cert-manager.io/duration": "1h"}
	external := map[string]string{"cert-manager.io/issuer": "p", "cert-manager.io/issuer-kind": "K", "cert-manager.io/issuer-group": "g"}
	for _, tc := range []struct {
		reason            string
		own, parent, want map[string]string
	}{
		{"the issuer and nothing else", map[string]string{"x": "1"}, parent, map[string]string{"x": "1", "cert-manager.io/cluster-issuer": "p"}},
		{"a kind and group with it", nil, external, external},
		{"not for one that names its own", map[string]string{"cert-manager.io/issuer": "o"}, external, map[string]string{"cert-manager.io/issuer": "o"}},
	} {
		if diff := cmp.Diff(tc.want, inherit(tc.own, tc.parent)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}
