package issuance

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

func TestValidate(t *testing.T) {
	during := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	type spec = cmapi.CertificateSpec
	for _, tc := range []struct {
		rule string
		set  func(*spec)
		want string // empty: accepted
	}{
		{"the least there can be", func(*spec) {}, ""},
		{"secretName is a name", func(s *spec) { s.SecretName = "web.tls-1" }, ""},
		{"secretName is needed", func(s *spec) { s.SecretName = "" }, `spec.secretName: "" is not a Secret's name`},
		{"secretName is no path", func(s *spec) { s.SecretName = "a/b" }, `spec.secretName: "a/b" is not a Secret's name`},
		{"issuerRef.name is needed", func(s *spec) { s.IssuerRef.Name = "" }, "spec.issuerRef.name: name an Issuer or ClusterIssuer"},
		{"a ClusterIssuer", func(s *spec) { s.IssuerRef.Kind = "ClusterIssuer" }, ""},
		{"a kind that is not ours needs its group", func(s *spec) { s.IssuerRef.Kind = "StepIssuer" },
			`spec.issuerRef.kind: "StepIssuer" is neither Issuer nor ClusterIssuer; an issuer of another kind needs its group in spec.issuerRef.group`},
		{"a kind of another group", func(s *spec) {
			s.IssuerRef = cmmeta.IssuerReference{Name: "a", Kind: "StepIssuer", Group: "certmanager.step.sm"}
		}, ""},

		{"a name is needed", func(s *spec) { s.DNSNames = nil }, "spec: a certificate needs a name: set at least one of commonName, dnsNames, ipAddresses, uris or emailAddresses"},
		{"a subject is no name", func(s *spec) { s.DNSNames, s.Subject = nil, &cmapi.X509Subject{Organizations: []string{"a"}} }, "spec: a certificate needs a name"},
		{"a common name", func(s *spec) { s.DNSNames, s.CommonName = nil, "a" }, ""},
		{"an IP address", func(s *spec) { s.DNSNames, s.IPAddresses = nil, []string{"::1"} }, ""},
		{"a URI", func(s *spec) { s.DNSNames, s.URIs = nil, []string{"spiffe://a"} }, ""},
		{"an e-mail address", func(s *spec) { s.DNSNames, s.EmailAddresses = nil, []string{"a@b"} }, ""},
		{"64 bytes of common name", func(s *spec) { s.CommonName = strings.Repeat("a", 64) }, ""},
		{"65 bytes of common name", func(s *spec) { s.CommonName = strings.Repeat("a", 65) }, "spec.commonName: 65 bytes are more than the 64 allowed; put long names into spec.dnsNames"},
		{"no IP address", func(s *spec) { s.IPAddresses = []string{"1.2.3"} }, `spec.ipAddresses[0]: "1.2.3" is not an IP address`},
		{"no URI", func(s *spec) { s.URIs = []string{":"} }, `spec.uris[0]: `},
		{"no bare e-mail address", func(s *spec) { s.EmailAddresses = []string{"A <a@b>"} }, `spec.emailAddresses[0]: "A <a@b>" is not a bare e-mail address`},

		{"RSA 4096", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Size: 4096} }, ""},
		{"RSA 1024", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Size: 1024} }, "spec.privateKey: an RSA key has 2048 to 8192 bits, not 1024"},
		{"ECDSA 255", func(s *spec) {
			s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 255}
		}, "spec.privateKey: an ECDSA key has 256, 384 or 521 bits, not 255"},
		{"DSA", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: "DSA"} }, `spec.privateKey: unknown private key algorithm "DSA"`},
		{"a signature that goes with the key", func(s *spec) { s.SignatureAlgorithm = cmapi.SHA512WithRSA }, ""},
		{"a signature of Ed25519", func(s *spec) {
			s.SignatureAlgorithm, s.PrivateKey = cmapi.PureEd25519, &cmapi.CertificatePrivateKey{Algorithm: cmapi.Ed25519KeyAlgorithm}
		}, ""},
		{"a signature that does not", func(s *spec) { s.SignatureAlgorithm = cmapi.ECDSAWithSHA256 }, "spec.signatureAlgorithm: ECDSAWithSHA256 does not go with a key of algorithm RSA"},
		{"usages", func(s *spec) { s.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth} }, ""},
		{"an unknown usage", func(s *spec) { s.Usages = []cmapi.KeyUsage{"all"} }, `spec.usages: unknown key usage "all"`},

		{"an hour", func(s *spec) { s.Duration = during(time.Hour) }, ""},
		{"less than an hour", func(s *spec) { s.Duration = during(time.Hour - time.Second) }, "spec.duration: 59m59s is less than 1h0m0s"},
		{"renewBefore", func(s *spec) { s.RenewBefore = during(5 * time.Minute) }, ""},
		{"renewBefore too short", func(s *spec) { s.RenewBefore = during(299 * time.Second) }, "spec.renewBefore: 4m59s is less than 5m0s"},
		{"renewBefore just below the duration", func(s *spec) { s.Duration, s.RenewBefore = during(2*time.Hour), during(2*time.Hour-time.Second) }, ""},
		{"renewBefore as long as the duration", func(s *spec) { s.Duration, s.RenewBefore = during(2*time.Hour), during(2*time.Hour) }, "spec.renewBefore: 2h0m0s is not less than the duration 2h0m0s"},
		{"renewBefore against the default duration", func(s *spec) { s.RenewBefore = during(2160 * time.Hour) }, "spec.renewBefore: 2160h0m0s is not less than the duration 2160h0m0s"},
		{"a percentage", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](99) }, ""},
		{"a percentage of 0", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](0) }, "spec.renewBeforePercentage: 0 is not between 1 and 99"},
		{"a percentage of 100", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](100) }, "spec.renewBeforePercentage: 100 is not between 1 and 99"},
		{"a percentage of too little", func(s *spec) { s.Duration, s.RenewBeforePercentage = during(time.Hour), ptr.To[int32](8) }, "spec.renewBeforePercentage: 8 percent of 1h0m0s are less than 5m0s"},
		{"both", func(s *spec) { s.RenewBefore, s.RenewBeforePercentage = during(time.Hour), ptr.To[int32](50) }, "spec.renewBefore and spec.renewBeforePercentage exclude each other"},
		{"a history of one", func(s *spec) { s.RevisionHistoryLimit = ptr.To[int32](1) }, ""},
		{"a history of none", func(s *spec) { s.RevisionHistoryLimit = ptr.To[int32](0) }, "spec.revisionHistoryLimit: 0 is less than 1"},

		{"a template", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}, Labels: map[string]string{"a/b": "c"}}
		}, ""},
		{"injection may be allowed", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"cert-manager.io/allow-direct-injection": "true"}}
		}, ""},
		{"our annotations are reserved", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"cert-manager.io/issuer-name": "x"}}
		}, "spec.secretTemplate.annotations: cert-manager.io/issuer-name is reserved"},
		{"a label's value", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "not a value"}}
		}, "spec.secretTemplate.labels: a=not a value is not a label"},
		{"a label's key", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"": "a"}}
		}, "spec.secretTemplate.labels: =a is not a label"},

		{"literalSubject", func(s *spec) { s.LiteralSubject = "CN=a" }, "spec.literalSubject is not served by this version of trustglass: leave it out"},
		{"otherNames", func(s *spec) { s.OtherNames = []cmapi.OtherName{{OID: "1.2", UTF8Value: "a"}} }, "spec.otherNames is not served"},
		{"nameConstraints", func(s *spec) { s.NameConstraints = &cmapi.NameConstraints{} }, "spec.nameConstraints is not served"},
		{"keystores", func(s *spec) { s.Keystores = &cmapi.CertificateKeystores{JKS: &cmapi.JKSKeystore{Create: true}} }, "spec.keystores is not served"},
		{"keystores that are not wanted", func(s *spec) { s.Keystores = &cmapi.CertificateKeystores{PKCS12: &cmapi.PKCS12Keystore{}} }, ""},
		{"windows", func(s *spec) {
			s.Renewal = &cmapi.CertificateRenewal{Policy: "RenewBefore", Windows: []cmapi.CertificateRenewalWindows{{}}}
		}, "spec.renewal.windows is not served"},
		{"renewal off", func(s *spec) { s.Renewal = &cmapi.CertificateRenewal{Policy: "Disabled"} }, ""},
		{"all faults are told at once", func(s *spec) { s.SecretName, s.DNSNames = "", nil }, "; spec: a certificate needs a name"},
	} {
		s := spec{SecretName: "web-tls", DNSNames: []string{"web.example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"}}
		tc.set(&s)
		err := validate(&s)
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", tc.rule, err, tc.want)
		}
	}
}
