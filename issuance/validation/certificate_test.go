package validation

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

type spec = cmapi.CertificateSpec

// newCertificate returns the least there can be, changed.
func newCertificate(change func(*spec)) *cmapi.Certificate {
	c := &cmapi.Certificate{Spec: spec{SecretName: "web-tls", DNSNames: []string{"web.example.com"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"}}}
	if change != nil {
		change(&c.Spec)
	}
	return c
}

func during(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func renewal(policy cmapi.CertificateRenewalPolicy, windows ...cmapi.CertificateRenewalWindows) *cmapi.CertificateRenewal {
	return &cmapi.CertificateRenewal{Policy: policy, Windows: windows}
}

func window(cron, zone string, d *metav1.Duration) cmapi.CertificateRenewalWindows {
	return cmapi.CertificateRenewalWindows{Cron: cron, Timezone: zone, WindowDuration: d}
}

func template(annotations, labels map[string]string) *cmapi.CertificateSecretTemplate {
	return &cmapi.CertificateSecretTemplate{Annotations: annotations, Labels: labels}
}

// expect compares a list with the start of its only error's text; empty means that there is none.
func expect(t *testing.T, list field.ErrorList, want string) {
	t.Helper()
	switch {
	case want == "" && len(list) > 0:
		t.Errorf("refused: %v", list.ToAggregate())
	case want != "" && len(list) != 1:
		t.Errorf("got %v, want one error: %s", list.ToAggregate(), want)
	case want != "" && !strings.HasPrefix(list[0].Error(), want):
		t.Errorf("got  %s\nwant %s", list[0], want)
	}
}

func TestCertificate(t *testing.T) {
	const (
		renew    = cmapi.CertificateRenewalPolicyRenewBefore
		disabled = cmapi.CertificateRenewalPolicyDisabled
	)
	ca := func(c *cmapi.NameConstraints) func(*spec) {
		return func(s *spec) { s.IsCA, s.NameConstraints = true, c }
	}
	jks := func(j cmapi.JKSKeystore) func(*spec) {
		return func(s *spec) { s.Keystores = &cmapi.CertificateKeystores{JKS: &j} }
	}
	p12 := func(p cmapi.PKCS12Keystore) func(*spec) {
		return func(s *spec) { s.Keystores = &cmapi.CertificateKeystores{PKCS12: &p} }
	}
	named := cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "password"}, Key: "password"}
	for _, tc := range []struct {
		reason string
		set    func(*spec)
		want   string // empty: accepted
	}{
		{"the least there can be", nil, ""},
		{"secretName is a name", func(s *spec) { s.SecretName = "web.tls-1" }, ""},
		{"secretName is needed", func(s *spec) { s.SecretName = "" }, "spec.secretName: Required value"},
		{"secretName is no path", func(s *spec) { s.SecretName = "a/b" }, `spec.secretName: Invalid value: "a/b": a lowercase RFC 1123 subdomain`},
		{"issuerRef.name is needed", func(s *spec) { s.IssuerRef.Name = "" }, "spec.issuerRef.name: Required value"},
		{"a ClusterIssuer", func(s *spec) { s.IssuerRef.Kind, s.IssuerRef.Group = "ClusterIssuer", "cert-manager.io" }, ""},
		{"a kind of another group", func(s *spec) {
			s.IssuerRef = cmmeta.IssuerReference{Name: "a", Kind: "StepIssuer", Group: "certmanager.step.sm"}
		}, ""},
		{"a kind that is not ours needs its group", func(s *spec) { s.IssuerRef.Kind = "StepIssuer" },
			`spec.issuerRef.kind: Invalid value: "StepIssuer": must be Issuer or ClusterIssuer; an issuer of another kind needs its group in spec.issuerRef.group`},
		{"a kind that our group does not have", func(s *spec) { s.IssuerRef.Kind, s.IssuerRef.Group = "StepIssuer", "cert-manager.io" },
			`spec.issuerRef.kind: Invalid value: "StepIssuer": must be Issuer or ClusterIssuer`},

		{"a name is needed", func(s *spec) { s.DNSNames = nil }, "spec: Invalid value: a certificate needs a name"},
		{"a subject is no name", func(s *spec) { s.DNSNames, s.Subject = nil, &cmapi.X509Subject{Organizations: []string{"a"}} }, "spec: Invalid value: a certificate needs a name"},
		{"a common name is one", func(s *spec) { s.DNSNames, s.CommonName = nil, "a" }, ""},
		{"an IP address is one", func(s *spec) { s.DNSNames, s.IPAddresses = nil, []string{"::1"} }, ""},
		{"a URI is one", func(s *spec) { s.DNSNames, s.URIs = nil, []string{"spiffe://a/b"} }, ""},
		{"an e-mail address is one", func(s *spec) { s.DNSNames, s.EmailAddresses = nil, []string{"a@b"} }, ""},
		{"an other name is one", func(s *spec) {
			s.DNSNames, s.OtherNames = nil, []cmapi.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", UTF8Value: "a@b"}}
		}, ""},
		{"64 bytes of common name", func(s *spec) { s.CommonName = strings.Repeat("a", 64) }, ""},
		{"65 bytes of common name", func(s *spec) { s.CommonName = strings.Repeat("a", 65) }, "spec.commonName: Too long: may not be more than 64 bytes; put long names into spec.dnsNames"},
		{"a DNS name in its encoded form", func(s *spec) { s.DNSNames = []string{"xn--bcher-kva.example"} }, ""},
		{"a DNS name that can't be encoded", func(s *spec) { s.DNSNames = []string{"a", "bücher.example"} }, `spec.dnsNames[1]: Invalid value: "bücher.example": is not ASCII`},
		{"an empty DNS name", func(s *spec) { s.DNSNames = []string{""} }, "spec.dnsNames[0]: Required value"},
		{"no IP address", func(s *spec) { s.IPAddresses = []string{"10.0.0.1", "1.2.3"} }, `spec.ipAddresses[1]: Invalid value: "1.2.3": is not an IP address`},
		{"no URI", func(s *spec) { s.URIs = []string{":"} }, `spec.uris[0]: Invalid value: ":": is not a URI`},
		{"URI with a host that x509 does not read", func(s *spec) { s.URIs = []string{"spiffe://a..b/c"} }, `spec.uris[0]: Invalid value: "spiffe://a..b/c": has the host "a..b", which no certificate can hold`},
		{"no bare e-mail address", func(s *spec) { s.EmailAddresses = []string{"A <a@b>"} }, `spec.emailAddresses[0]: Invalid value: "A <a@b>": is not a bare e-mail address`},
		{"an other name without identifier", func(s *spec) { s.OtherNames = []cmapi.OtherName{{OID: "BAD_OID", UTF8Value: "a"}} },
			`spec.otherNames[0].oid: Invalid value: "BAD_OID": oid syntax invalid`},
		{"an other name without value", func(s *spec) { s.OtherNames = []cmapi.OtherName{{OID: "1.2.3"}} },
			`spec.otherNames[0].utf8Value: Required value: must be set to a valid non-empty UTF8 string`},

		{"a literal subject", func(s *spec) { s.DNSNames, s.LiteralSubject = nil, `CN=foo\, bar,OU=a+OU=b,O=c,2.5.4.42=d` }, ""},
		{"a literal subject without CN", func(s *spec) { s.LiteralSubject = "O=a" }, ""},
		{"a literal subject without any name", func(s *spec) { s.DNSNames, s.LiteralSubject = nil, "O=a" }, "spec: Invalid value: a certificate needs a name"},
		{"a literal subject beside a common name", func(s *spec) { s.LiteralSubject, s.CommonName = "CN=a", "a" }, `spec.commonName: Invalid value: "a": must be empty where literalSubject is set`},
		{"a literal subject beside an empty subject", func(s *spec) { s.LiteralSubject, s.Subject = "CN=a", &cmapi.X509Subject{} }, ""},
		{"a literal subject beside a subject", func(s *spec) { s.LiteralSubject, s.Subject = "CN=a", &cmapi.X509Subject{SerialNumber: "1"} }, "spec.subject: Invalid value: must be empty where literalSubject is set"},
		{"a literal subject with an unknown key", func(s *spec) { s.LiteralSubject = "CN=a, UNKNOWN=blah" },
			`spec.literalSubject: Invalid value: "CN=a, UNKNOWN=blah": Literal subject contains unrecognized key with value [blah]: "UNKNOWN" is neither`},
		{"a literal subject with an empty CN", func(s *spec) { s.LiteralSubject = "CN=,O=a" }, `spec.literalSubject: Invalid value: "CN=,O=a": the value of CN is empty`},
		{"a literal subject with a long CN", func(s *spec) { s.LiteralSubject = "CN=" + strings.Repeat("a", 65) }, `spec.literalSubject: Invalid value: "CN=aaa`},
		{"no literal subject", func(s *spec) { s.LiteralSubject = "a" }, `spec.literalSubject: Invalid value: "a": "a" is not of the form`},

		{"RSA 8192", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Size: 8192} }, ""},
		{"RSA 1024", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Size: 1024} }, `spec.privateKey.size: Invalid value: "1024": an RSA key has 2048 to 8192 bits`},
		{"ECDSA 521", func(s *spec) {
			s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 521}
		}, ""},
		{"ECDSA 255", func(s *spec) {
			s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 255}
		}, `spec.privateKey.size: Invalid value: "255": an ECDSA key`},
		{"Ed25519 has no size", func(s *spec) {
			s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.Ed25519KeyAlgorithm, Size: 7}
		}, ""},
		{"DSA", func(s *spec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: "DSA"} }, `spec.privateKey.algorithm: Invalid value: "DSA": unknown private key algorithm`},
		{"a signature that goes with the key", func(s *spec) { s.SignatureAlgorithm = cmapi.SHA512WithRSA }, ""},
		{"a signature that does not", func(s *spec) { s.SignatureAlgorithm = cmapi.ECDSAWithSHA256 }, `spec.signatureAlgorithm: Invalid value: "ECDSAWithSHA256": does not go with a key of algorithm RSA`},
		{"an unknown signature", func(s *spec) { s.SignatureAlgorithm = "MD5WithRSA" }, `spec.signatureAlgorithm: Unsupported value: "MD5WithRSA": supported values: "ECDSAWithSHA256"`},
		{"usages", func(s *spec) {
			s.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth, cmapi.UsageSMIME, cmapi.UsageSigning}
		}, ""},
		{"an unknown usage", func(s *spec) { s.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth, "all"} }, `spec.usages[1]: Invalid value: "all": unknown key usage "all"`},

		{"an hour", func(s *spec) { s.Duration = during(time.Hour) }, ""},
		{"less than an hour", func(s *spec) { s.Duration = during(time.Hour - time.Second) }, `spec.duration: Invalid value: "59m59s": must be at least 1h0m0s`},
		{"renewBefore", func(s *spec) { s.RenewBefore = during(5 * time.Minute) }, ""},
		{"renewBefore too short", func(s *spec) { s.RenewBefore = during(299 * time.Second) }, `spec.renewBefore: Invalid value: "4m59s": must be at least 5m0s`},
		{"renewBefore just below the duration", func(s *spec) { s.Duration, s.RenewBefore = during(2*time.Hour), during(2*time.Hour-time.Second) }, ""},
		{"renewBefore as long as the duration", func(s *spec) { s.Duration, s.RenewBefore = during(2*time.Hour), during(2*time.Hour) }, `spec.renewBefore: Invalid value: "2h0m0s": must be less than the duration, 2h0m0s`},
		{"renewBefore against the default duration", func(s *spec) { s.RenewBefore = during(2160 * time.Hour) }, `spec.renewBefore: Invalid value: "2160h0m0s": must be less than`},
		{"a percentage that remains: 5 minutes of an hour are 9 percent", func(s *spec) { s.Duration, s.RenewBeforePercentage = during(time.Hour), ptr.To[int32](9) }, ""},
		{"8 percent of an hour are too little", func(s *spec) { s.Duration, s.RenewBeforePercentage = during(time.Hour), ptr.To[int32](8) }, `spec.renewBeforePercentage: Invalid value: "8": leaves less than 5m0s of 1h0m0s`},
		{"99 percent may remain", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](99) }, ""},
		{"a percentage of 0, alone", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](0) }, `spec.renewBeforePercentage: Invalid value: "0": must be between 1 and 99`},
		{"a percentage of 100", func(s *spec) { s.RenewBeforePercentage = ptr.To[int32](100) }, `spec.renewBeforePercentage: Invalid value: "100": must be between 1 and 99`},
		{"both", func(s *spec) { s.RenewBefore, s.RenewBeforePercentage = during(time.Hour), ptr.To[int32](50) }, "spec.renewBeforePercentage: Forbidden: excludes renewBefore"},
		{"a history of one", func(s *spec) { s.RevisionHistoryLimit = ptr.To[int32](1) }, ""},
		{"a history of none", func(s *spec) { s.RevisionHistoryLimit = ptr.To[int32](0) }, `spec.revisionHistoryLimit: Invalid value: "0": must be at least 1`},

		{"renewal turned off", func(s *spec) { s.Renewal = renewal(disabled) }, ""},
		{"renewal without policy", func(s *spec) { s.Renewal = renewal("") }, `spec.renewal.policy: Unsupported value: "": supported values: "RenewBefore", "Disabled"`},
		{"a window", func(s *spec) { s.Renewal = renewal(renew, window("0 2 * * 6", "Europe/Berlin", during(4*time.Hour))) }, ""},
		{"a window where nothing is renewed", func(s *spec) { s.Renewal = renewal(disabled, window("0 2 * * 6", "", during(time.Hour))) }, "spec.renewal.windows: Forbidden: no windows"},
		{"as many windows as there may be", func(s *spec) {
			s.Renewal = renewal(renew, slices.Repeat([]cmapi.CertificateRenewalWindows{window("0 2 * * 6", "", during(time.Hour))}, 64)...)
		}, ""},
		{"more windows", func(s *spec) {
			s.Renewal = renewal(renew, slices.Repeat([]cmapi.CertificateRenewalWindows{window("0 2 * * 6", "", during(time.Hour))}, 65)...)
		}, `spec.renewal.windows: Invalid value: "65 windows": must be at most 64`},
		{"a window without length", func(s *spec) { s.Renewal = renewal(renew, window("0 2 * * 6", "", nil)) }, "spec.renewal.windows[0].windowDuration: Required value"},
		{"a window of no length", func(s *spec) { s.Renewal = renewal(renew, window("0 2 * * 6", "", during(0))) }, `spec.renewal.windows[0].windowDuration: Invalid value: "0s": must be more than 0`},
		{"a window in no zone", func(s *spec) { s.Renewal = renewal(renew, window("0 2 * * 6", "Europe/Atlantis", during(time.Hour))) }, `spec.renewal.windows[0].timezone: Invalid value: "Europe/Atlantis": must be a time zone`},
		{"a window in whatever zone we are in", func(s *spec) { s.Renewal = renewal(renew, window("0 2 * * 6", "Local", during(time.Hour))) }, `spec.renewal.windows[0].timezone: Invalid value: "Local"`},
		{"a window that never opens", func(s *spec) { s.Renewal = renewal(renew, window("", "", during(time.Hour))) }, "spec.renewal.windows[0].cron: Required value"},
		{"a window with six fields", func(s *spec) {
			s.Renewal = renewal(renew, window("0 2 * * 6", "", during(time.Hour)), window("0 0 2 * * 6", "", during(time.Hour)))
		},
			`spec.renewal.windows[1].cron: Invalid value: "0 0 2 * * 6": "0 0 2 * * 6" is not a schedule of five fields`},

		{"a template", func(s *spec) {
			s.SecretTemplate = template(map[string]string{"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}, map[string]string{"a/b": "c"})
		}, ""},
		{"injection may be allowed", func(s *spec) {
			s.SecretTemplate = template(map[string]string{"cert-manager.io/allow-direct-injection": "true"}, nil)
		}, ""},
		{"the annotation of what keystores were made with", func(s *spec) { s.SecretTemplate = template(map[string]string{"trustglass.io/keystores": "x"}, nil) },
			`spec.secretTemplate.annotations: Invalid value: "trustglass.io/keystores": says what the Secret was issued for and is reserved`},
		{"the annotation of the last renewal asked for", func(s *spec) { s.SecretTemplate = template(map[string]string{"trustglass.io/renew": "x"}, nil) },
			`spec.secretTemplate.annotations: Invalid value: "trustglass.io/renew": says what the Secret was issued for and is reserved`},
		{"annotations that let the Secret be mirrored", func(s *spec) {
			s.SecretTemplate = template(map[string]string{"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}, nil)
		}, ""},
		{"our annotations are reserved", func(s *spec) { s.SecretTemplate = template(map[string]string{"cert-manager.io/issuer-name": "x"}, nil) },
			`spec.secretTemplate.annotations: Invalid value: "cert-manager.io/issuer-name": annotations of cert-manager.io are reserved`},
		{"an annotation that no Secret can have", func(s *spec) { s.SecretTemplate = template(map[string]string{"a b": "x"}, nil) }, `spec.secretTemplate.annotations: Invalid value: "a b"`},
		{"a label's value", func(s *spec) { s.SecretTemplate = template(nil, map[string]string{"a": "not a value"}) }, `spec.secretTemplate.labels[a]: Invalid value: "not a value"`},
		{"a label's key", func(s *spec) { s.SecretTemplate = template(nil, map[string]string{"a/b/c": ""}) }, `spec.secretTemplate.labels: Invalid value: "a/b/c"`},

		{"name constraints", ca(&cmapi.NameConstraints{Permitted: &cmapi.NameConstraintItem{DNSDomains: []string{"example.com"}, IPRanges: []string{"10.0.0.0/8"}}}), ""},
		{"name constraints of a leaf", func(s *spec) {
			s.NameConstraints = &cmapi.NameConstraints{Excluded: &cmapi.NameConstraintItem{DNSDomains: []string{"a"}}}
		}, "spec.nameConstraints: Forbidden: only a CA"},
		{"no name constraints", ca(&cmapi.NameConstraints{}), "spec.nameConstraints: Required value: must have permitted or excluded names"},
		{"name constraints that constrain nothing", ca(&cmapi.NameConstraints{Permitted: &cmapi.NameConstraintItem{}}), "spec.nameConstraints: Invalid value: say what is permitted"},
		{"name constraints with an address for a range", ca(&cmapi.NameConstraints{Excluded: &cmapi.NameConstraintItem{IPRanges: []string{"10.0.0.1"}}}),
			`spec.nameConstraints.excluded.ipRanges[0]: Invalid value: "10.0.0.1": is not a range`},

		{"both output formats", func(s *spec) {
			s.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}, {Type: "CombinedPEM"}}
		}, ""},
		{"an output format twice", func(s *spec) {
			s.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}, {Type: "DER"}}
		}, `spec.additionalOutputFormats[1].type: Duplicate value: "DER"`},
		{"an unknown output format", func(s *spec) { s.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "PEM"}} }, `spec.additionalOutputFormats[0].type: Unsupported value: "PEM"`},

		{"a keystore with a password", jks(cmapi.JKSKeystore{Create: true, Password: ptr.To("changeit")}), ""},
		{"a keystore with a Secret's password", p12(cmapi.PKCS12Keystore{Create: true, PasswordSecretRef: named, Profile: cmapi.Modern2026PKCS12Profile}), ""},
		{"annotations that no object can have", func(s *spec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"a": strings.Repeat("x", 1<<18)}}
		}, "spec.secretTemplate.annotations: Invalid value: are 262145 bytes, more than the 262144 that an object may have"},
		{"a keystore that is not made", jks(cmapi.JKSKeystore{}), ""},
		{"a keystore without password", p12(cmapi.PKCS12Keystore{Create: true}), "spec.keystores.pkcs12.passwordSecretRef.name: Required value"},
		{"a keystore with an empty password", jks(cmapi.JKSKeystore{Create: true, Password: ptr.To("")}), "spec.keystores.jks.password: Invalid value: must not be empty"},
		{"a keystore with two passwords", jks(cmapi.JKSKeystore{Create: true, Password: ptr.To("changeit"), PasswordSecretRef: named}), "spec.keystores.jks.password: Forbidden: excludes passwordSecretRef"},
		{"a password that PKCS #12 can't encode", p12(cmapi.PKCS12Keystore{Create: true, Password: ptr.To("🔑")}), "spec.keystores.pkcs12.password: Invalid value: has characters beyond U+FFFF"},
		{"a password that JKS can", jks(cmapi.JKSKeystore{Create: true, Password: ptr.To("🔑")}), ""},
		{"a keystore of an unknown profile", p12(cmapi.PKCS12Keystore{Create: true, PasswordSecretRef: named, Profile: "RC4"}), `spec.keystores.pkcs12.profile: Unsupported value: "RC4"`},
	} {
		t.Run(tc.reason, func(t *testing.T) { expect(t, Certificate(newCertificate(tc.set)), tc.want) })
	}
}

// A password never enters a message, and a thousand mistakes make no long one.
func TestCertificateTellsLittle(t *testing.T) {
	c := newCertificate(func(s *spec) {
		named := cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "password"}}
		s.Keystores = &cmapi.CertificateKeystores{JKS: &cmapi.JKSKeystore{Create: true, Password: ptr.To("hunter2"), PasswordSecretRef: named}}
		for range 1000 {
			s.IPAddresses = append(s.IPAddresses, strings.Repeat("x", 1000))
		}
	})
	list := Certificate(c)
	text := list.ToAggregate().Error()
	if strings.Contains(text, "hunter2") {
		t.Error("the password is in the message")
	}
	if len(list) != maxFindings+1 || len(text) > 8<<10 {
		t.Errorf("%d errors in %d bytes", len(list), len(text))
	}
	if last := list[maxFindings]; last.Detail != "there is more wrong than the 16 errors listed" {
		t.Errorf("the last error is %s", last)
	}
}

// The good case is the common one, at every admission and every reconcile.
func TestCertificateAllocatesLittle(t *testing.T) {
	c := newCertificate(func(s *spec) {
		s.CommonName, s.Duration, s.RenewBefore = "web", during(24*time.Hour), during(8*time.Hour)
		s.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm}
		s.Usages = []cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageKeyEncipherment}
		s.SecretTemplate = template(nil, map[string]string{"app": "web"})
	})
	n := testing.AllocsPerRun(100, func() {
		if Certificate(c) != nil {
			t.Fatal("refused")
		}
	})
	if n > 10 {
		t.Errorf("%v allocations", n)
	}
}
