package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// fullSpec names something in every field that a CSR holds.
func fullSpec() *cmapi.CertificateSpec {
	return &cmapi.CertificateSpec{
		CommonName: "full.example.org",
		Subject: &cmapi.X509Subject{
			Organizations: []string{"Ex, Inc.", "Ample"}, OrganizationalUnits: []string{"Ops"}, Countries: []string{"CH"}, Provinces: []string{"BE"},
			Localities: []string{"Bern"}, StreetAddresses: []string{"Gasse 1"}, PostalCodes: []string{"3000"}, SerialNumber: "42",
		},
		DNSNames: []string{"a.example.org", "*.example.org"}, IPAddresses: []string{"10.0.0.1", "2001:DB8::1", "::ffff:10.0.0.2"},
		URIs: []string{"spiffe://example.org/ns/a", "https://example.org:8443/x?y=z"}, EmailAddresses: []string{"ops@example.org"},
		Usages:   []cmapi.KeyUsage{cmapi.UsageServerAuth, cmapi.UsageDigitalSignature},
		Duration: &metav1.Duration{Duration: 48 * time.Hour}, IssuerRef: cmmeta.IssuerReference{Name: "ca"},
	}
}

func TestNewRequest(t *testing.T) {
	spec := fullSpec()
	key := newKey(t, p256)
	csr, err := ParseRequest(must(NewRequest(spec, key)))
	if err != nil {
		t.Fatal(err)
	}
	// A set in DER is ordered by its encoding, the shorter first.
	if diff := cmp.Diff(`SERIALNUMBER=42,CN=full.example.org,OU=Ops,O=Ample+O=Ex\, Inc.,POSTALCODE=3000,STREET=Gasse 1,L=Bern,ST=BE,C=CH`, csr.Subject.String()); diff != "" {
		t.Errorf("subject: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec.DNSNames, csr.DNSNames); diff != "" {
		t.Errorf("DNS names: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "2001:db8::1", "10.0.0.2"}, stringsOf(csr.IPAddresses)); diff != "" {
		t.Errorf("IP addresses: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec.URIs, stringsOf(csr.URIs)); diff != "" {
		t.Errorf("URIs: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec.EmailAddresses, csr.EmailAddresses); diff != "" {
		t.Errorf("e-mail addresses: -want +got\n%s", diff)
	}
	if KeyIDOf(csr.PublicKey) != KeyIDOf(key.Public()) {
		t.Error("the CSR is for another key")
	}
}

func TestRequestExtensions(t *testing.T) {
	key := newKey(t, p256)
	names := []string{"a.example.org"}
	for _, tc := range []struct {
		reason string
		spec   cmapi.CertificateSpec
		want   map[string]bool // object identifier: critical
	}{
		{"a name in the subject", cmapi.CertificateSpec{CommonName: "a", DNSNames: names, Usages: []cmapi.KeyUsage{cmapi.UsageServerAuth, cmapi.UsageSigning}},
			map[string]bool{"2.5.29.15": true, "2.5.29.37": false, "2.5.29.17": false}},
		{"none: then the SANs are critical", cmapi.CertificateSpec{DNSNames: names}, map[string]bool{"2.5.29.15": true, "2.5.29.17": true}},
		{"no SANs", cmapi.CertificateSpec{CommonName: "a"}, map[string]bool{"2.5.29.15": true}},
		{"an extended usage only", cmapi.CertificateSpec{CommonName: "a", Usages: []cmapi.KeyUsage{cmapi.UsageClientAuth}}, map[string]bool{"2.5.29.37": false}},
		{"usages left out", cmapi.CertificateSpec{CommonName: "a", DNSNames: names, EncodeUsagesInRequest: ptr.To(false)}, map[string]bool{"2.5.29.17": false}},
		{"usages wanted", cmapi.CertificateSpec{CommonName: "a", EncodeUsagesInRequest: ptr.To(true)}, map[string]bool{"2.5.29.15": true}},
	} {
		csr := must(ParseRequest(must(NewRequest(&tc.spec, key))))
		got := map[string]bool{}
		for _, e := range csr.Extensions {
			got[e.Id.String()] = e.Critical
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestSignatureAlgorithms(t *testing.T) {
	for algorithm, want := range signatureAlgorithms {
		spec := KeySpec{Algorithm: cmapi.RSAKeyAlgorithm, Size: 2048}
		switch {
		case strings.HasPrefix(string(algorithm), "ECDSA"):
			spec = p256
		case algorithm == cmapi.PureEd25519:
			spec = KeySpec{Algorithm: cmapi.Ed25519KeyAlgorithm}
		case algorithm == "":
			want = x509.SHA256WithRSA
		}
		csr, err := ParseRequest(must(NewRequest(&cmapi.CertificateSpec{CommonName: "a", SignatureAlgorithm: algorithm}, newKey(t, spec))))
		if err != nil || csr.SignatureAlgorithm != want {
			t.Errorf("%q: signed with %v (%v), want %v", algorithm, csr.SignatureAlgorithm, err, want)
		}
	}
}

// A long RSA key signs a long digest: in its own request and certificate, and as a CA.
func TestSignatureOfLongKeys(t *testing.T) {
	for size, want := range map[int]x509.SignatureAlgorithm{3072: x509.SHA384WithRSA, 4096: x509.SHA512WithRSA} {
		key := newKey(t, KeySpec{Algorithm: cmapi.RSAKeyAlgorithm, Size: size})
		request := requestFor(t, &cmapi.CertificateSpec{CommonName: "ca", IsCA: true}, key)
		csr := must(ParseRequest(request.Request))
		root := must(ParseCertificates(must(SelfSign(must(NewTemplate(csr, request, now)), key)).Chain))
		bundle, _ := issue(t, KeyPair{Certs: root, Key: key}, &cmapi.CertificateSpec{CommonName: "leaf"}, newKey(t, p256))
		leaf := must(ParseCertificates(bundle.Chain))[0]
		if csr.SignatureAlgorithm != want || root[0].SignatureAlgorithm != want || leaf.SignatureAlgorithm != want {
			t.Errorf("%d bits: request %v, root %v, leaf %v, want %v", size, csr.SignatureAlgorithm, root[0].SignatureAlgorithm, leaf.SignatureAlgorithm, want)
		}
	}
}

// A CSR that nobody can read must never leave: what reads it again would find that it fits no spec.
func TestNewRequestRefuses(t *testing.T) {
	key := newKey(t, p256)
	many := make([]string, 4000)
	for i := range many {
		many[i] = strings.Repeat("x", 20) + ".example.org"
	}
	for _, tc := range []struct {
		reason string
		spec   cmapi.CertificateSpec
		want   string
	}{
		{"an IP address that is none", cmapi.CertificateSpec{IPAddresses: []string{"10.0.0.1", "10.0.0"}}, `spec.ipAddresses[1]: "10.0.0" is not an IP address`},
		{"a URI that is none", cmapi.CertificateSpec{URIs: []string{"https://a b"}}, `spec.uris[0]: `},
		{"an e-mail address with a name", cmapi.CertificateSpec{EmailAddresses: []string{"Ops <ops@example.org>"}}, `spec.emailAddresses[0]: "Ops <ops@example.org>" is not a bare e-mail address`},
		{"an e-mail address that is none", cmapi.CertificateSpec{EmailAddresses: []string{"ops"}}, `spec.emailAddresses[0]: "ops" is not a bare e-mail address`},
		{"an algorithm of another time", cmapi.CertificateSpec{CommonName: "a", SignatureAlgorithm: "MD5WithRSA"}, `spec.signatureAlgorithm: unknown algorithm "MD5WithRSA"`},
		{"an algorithm of another key", cmapi.CertificateSpec{CommonName: "a", SignatureAlgorithm: cmapi.SHA256WithRSA}, `signing the certificate request: `},
		{"an unknown usage", cmapi.CertificateSpec{CommonName: "a", Usages: []cmapi.KeyUsage{"all"}}, `spec.usages: unknown key usage "all"`},
		{"a DNS name that is not ASCII", cmapi.CertificateSpec{DNSNames: []string{"a.example.org", "bücher.example.org"}}, `spec.dnsNames[1]: "bücher.example.org" is not ASCII: write it in its encoded form`},
		{"a common name that x509 can't encode", cmapi.CertificateSpec{CommonName: "a\xff"}, `encoding the subject: `},
		{"a URI whose host x509 does not read back", cmapi.CertificateSpec{URIs: []string{"https://example..org/"}}, `spec.uris[0]: has the host "example..org", which no certificate can hold`},
		{"more names than a CSR may hold", cmapi.CertificateSpec{DNSNames: many}, `bytes, more than the 65536 allowed`},
	} {
		_, err := NewRequest(&tc.spec, key)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
}

// withKeyOf returns a request with an RSA key of so many bits, which nobody has made: its signature is worth nothing.
func withKeyOf(bits uint) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	key := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}))
	sha256WithRSA := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue}
	type info struct {
		Version    int
		Subject    pkix.RDNSequence
		Key        asn1.RawValue
		Attributes []asn1.RawValue `asn1:"tag:0,set"`
	}
	der := must(asn1.Marshal(struct {
		Info      info
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{info{Key: asn1.RawValue{FullBytes: key}}, sha256WithRSA, asn1.BitString{Bytes: make([]byte, bits/8), BitLength: int(bits)}}))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestParseRequestRefuses(t *testing.T) {
	key := newKey(t, p256)
	good := must(NewRequest(&cmapi.CertificateSpec{CommonName: "a"}, key))
	block, _ := pem.Decode(good)
	forged := append([]byte(nil), block.Bytes...)
	forged[len(forged)-1] ^= 1
	for _, tc := range []struct {
		reason string
		text   []byte
		want   string
	}{
		{"an RSA key of 16384 bits", withKeyOf(16384), "the request's RSA key has 16384 bits, more than the 8192 allowed"},
		{"one of 8192 bits", withKeyOf(8192), "the request's signature does not fit its key"},
		{"nothing", nil, "no PEM block of type CERTIFICATE REQUEST found"},
		{"another block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}), "no PEM block of type CERTIFICATE REQUEST found"},
		{"garbage within", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), "parsing the certificate request: "},
		{"two of them", append(append([]byte(nil), good...), good...), "there is data behind the CERTIFICATE REQUEST block"},
		{"signed with another key", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}), "the request's signature does not fit its key"},
		{"too long", make([]byte, MaxRequestBytes+1), "the request has 65537 bytes, more than the 65536 allowed"},
	} {
		if _, err := ParseRequest(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
	if _, err := ParseRequest(append(append([]byte(nil), good...), " \n"...)); err != nil {
		t.Errorf("blanks at the end: %v", err)
	}
	if _, err := ParseRequest(bytes.ReplaceAll(good, []byte("CERTIFICATE REQUEST"), []byte("NEW CERTIFICATE REQUEST"))); err != nil {
		t.Errorf("as keytool writes it: %v", err)
	}
}

func TestRequestDigest(t *testing.T) {
	key := newKey(t, p256)
	good := NewRequestDigest(must(NewRequest(fullSpec(), key)))
	if good.Err() != nil || good.Key != KeyIDOf(key.Public()) {
		t.Errorf("a sound CSR: %v", good.Err())
	}
	bad := NewRequestDigest([]byte("x"))
	if bad.Err() == nil {
		t.Error("garbage decodes")
	}
	if diff := cmp.Diff([]string{"spec.request"}, Mismatches(fullSpec(), requestFor(t, fullSpec(), key), bad)); diff != "" {
		t.Errorf("garbage fits: -want +got\n%s", diff)
	}
}

func TestMismatches(t *testing.T) {
	key := newKey(t, p256)
	with := func(change func(*cmapi.CertificateSpec)) *cmapi.CertificateSpec {
		s := fullSpec()
		change(s)
		return s
	}
	for _, tc := range []struct {
		reason string
		spec   *cmapi.CertificateSpec
		want   []string
	}{
		{"the same", fullSpec(), nil},
		{"another order", with(func(s *cmapi.CertificateSpec) {
			s.DNSNames = []string{"*.example.org", "a.example.org"}
			s.Usages = []cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageServerAuth}
			s.Subject.Organizations = []string{"Ample", "Ex, Inc."}
		}), nil},
		{"said twice", with(func(s *cmapi.CertificateSpec) { s.DNSNames = append(s.DNSNames, "a.example.org") }), nil},
		{"an IP address written otherwise", with(func(s *cmapi.CertificateSpec) { s.IPAddresses[1] = "2001:db8:0::0001" }), nil},
		{"the issuer's defaults spelled out", with(func(s *cmapi.CertificateSpec) { s.IssuerRef.Kind, s.IssuerRef.Group = "Issuer", Group }), nil},
		{"commonName", with(func(s *cmapi.CertificateSpec) { s.CommonName = "" }), []string{"spec.commonName"}},
		{"dnsNames", with(func(s *cmapi.CertificateSpec) { s.DNSNames = s.DNSNames[:1] }), []string{"spec.dnsNames"}},
		{"ipAddresses", with(func(s *cmapi.CertificateSpec) { s.IPAddresses[0] = "10.0.0.9" }), []string{"spec.ipAddresses"}},
		{"uris", with(func(s *cmapi.CertificateSpec) { s.URIs = nil }), []string{"spec.uris"}},
		{"emailAddresses", with(func(s *cmapi.CertificateSpec) { s.EmailAddresses = append(s.EmailAddresses, "b@example.org") }), []string{"spec.emailAddresses"}},
		{"subject.organizations", with(func(s *cmapi.CertificateSpec) { s.Subject.Organizations = nil }), []string{"spec.subject.organizations"}},
		{"subject.organizationalUnits", with(func(s *cmapi.CertificateSpec) { s.Subject.OrganizationalUnits = []string{"Dev"} }), []string{"spec.subject.organizationalUnits"}},
		{"subject.countries", with(func(s *cmapi.CertificateSpec) { s.Subject.Countries = []string{"DE"} }), []string{"spec.subject.countries"}},
		{"subject.provinces", with(func(s *cmapi.CertificateSpec) { s.Subject.Provinces = nil }), []string{"spec.subject.provinces"}},
		{"subject.localities", with(func(s *cmapi.CertificateSpec) { s.Subject.Localities = nil }), []string{"spec.subject.localities"}},
		{"subject.streetAddresses", with(func(s *cmapi.CertificateSpec) { s.Subject.StreetAddresses = nil }), []string{"spec.subject.streetAddresses"}},
		{"subject.postalCodes", with(func(s *cmapi.CertificateSpec) { s.Subject.PostalCodes = nil }), []string{"spec.subject.postalCodes"}},
		{"subject.serialNumber", with(func(s *cmapi.CertificateSpec) { s.Subject.SerialNumber = "43" }), []string{"spec.subject.serialNumber"}},
		{"isCA", with(func(s *cmapi.CertificateSpec) { s.IsCA = true }), []string{"spec.isCA"}},
		{"usages", with(func(s *cmapi.CertificateSpec) { s.Usages = nil }), []string{"spec.usages"}},
		{"duration", with(func(s *cmapi.CertificateSpec) { s.Duration.Duration = time.Hour }), []string{"spec.duration"}},
		{"issuerRef", with(func(s *cmapi.CertificateSpec) { s.IssuerRef.Kind = "ClusterIssuer" }), []string{"spec.issuerRef"}},
		{"several", with(func(s *cmapi.CertificateSpec) { s.CommonName, s.DNSNames = "b", nil }), []string{"spec.dnsNames", "spec.commonName"}},
		{"a spec that does not parse", with(func(s *cmapi.CertificateSpec) { s.IPAddresses = []string{"x"} }), []string{"spec"}},

		{"no reason: duration left out", with(func(s *cmapi.CertificateSpec) { s.Duration = nil }), nil},
		{"no reason: signatureAlgorithm", with(func(s *cmapi.CertificateSpec) { s.SignatureAlgorithm = cmapi.ECDSAWithSHA512 }), nil},
		{"no reason: encoding and rotation", with(func(s *cmapi.CertificateSpec) {
			s.PrivateKey = &cmapi.CertificatePrivateKey{Encoding: cmapi.PKCS8, RotationPolicy: cmapi.RotationPolicyNever}
		}), nil},
		{"no reason: secretTemplate", with(func(s *cmapi.CertificateSpec) {
			s.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "b"}}
		}), nil},
		{"no reason: additionalOutputFormats", with(func(s *cmapi.CertificateSpec) {
			s.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: cmapi.CertificateOutputFormatDER}}
		}), nil},
		{"no reason: when to renew", with(func(s *cmapi.CertificateSpec) {
			s.RenewBefore, s.Renewal = &metav1.Duration{Duration: time.Hour}, &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}
		}), nil},
		{"no reason: encodeUsagesInRequest", with(func(s *cmapi.CertificateSpec) { s.EncodeUsagesInRequest = ptr.To(false) }), nil},
		{"no reason: revisionHistoryLimit", with(func(s *cmapi.CertificateSpec) { s.RevisionHistoryLimit = ptr.To[int32](5) }), nil},
	} {
		request := requestFor(t, fullSpec(), key)
		if diff := cmp.Diff(tc.want, Mismatches(tc.spec, request, NewRequestDigest(request.Request))); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
	t.Run("no reason: a duration where the request had none", func(t *testing.T) {
		request := requestFor(t, with(func(s *cmapi.CertificateSpec) { s.Duration = nil }), key)
		if got := Mismatches(fullSpec(), request, NewRequestDigest(request.Request)); got != nil {
			t.Error(got)
		}
	})
	t.Run("a reason: the default usages spelled out", func(t *testing.T) {
		request := requestFor(t, with(func(s *cmapi.CertificateSpec) { s.Usages = nil }), key)
		got := Mismatches(with(func(s *cmapi.CertificateSpec) { s.Usages = DefaultUsages() }), request, NewRequestDigest(request.Request))
		if diff := cmp.Diff([]string{"spec.usages"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSameIssuer(t *testing.T) {
	ref := func(name, kind, group string) cmmeta.IssuerReference {
		return cmmeta.IssuerReference{Name: name, Kind: kind, Group: group}
	}
	for _, tc := range []struct {
		a, b cmmeta.IssuerReference
		want bool
	}{
		{ref("a", "", ""), ref("a", "Issuer", "cert-manager.io"), true},
		{ref("a", "", ""), ref("b", "", ""), false},
		{ref("a", "ClusterIssuer", ""), ref("a", "", ""), false},
		{ref("a", "Issuer", "example.org"), ref("a", "Issuer", ""), false},
	} {
		if got := SameIssuer(tc.a, tc.b); got != tc.want {
			t.Errorf("%v and %v: %t", tc.a, tc.b, got)
		}
	}
}

// foreignRequest is a CSR as other tools make it, with these extensions.
func foreignRequest(t testing.TB, extensions ...pkix.Extension) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "foreign"}, DNSNames: []string{"foreign.example.org"},
		URIs: []*url.URL{must(url.Parse("spiffe://a/b"))}, ExtraExtensions: extensions,
	}, newKey(t, p256))
	if err != nil {
		t.Fatal(err)
	}
	return must(x509.ParseCertificateRequest(der))
}
