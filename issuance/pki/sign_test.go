package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestSign(t *testing.T) {
	root := newCA(t, "root", nil, nil)
	intermediate := newCA(t, "intermediate", &root, nil)
	key := newKey(t, p256)
	bundle, shortened := issue(t, intermediate, fullSpec(), key)
	if shortened {
		t.Error("a certificate well within its CA's life was shortened")
	}
	chain, ca := must(ParseCertificates(bundle.Chain)), must(ParseCertificates(bundle.CA))
	if len(chain) != 2 || !chain[1].Equal(intermediate.Certs[0]) {
		t.Fatalf("the chain has %d certificates, want leaf and intermediate", len(chain))
	}
	if len(ca) != 1 || !ca[0].Equal(root.Certs[0]) {
		t.Error("the CA is not the root")
	}
	leaf := chain[0]
	if KeyIDOf(leaf.PublicKey) != KeyIDOf(key.Public()) {
		t.Error("the certificate is for another key")
	}
	if !leaf.NotBefore.Equal(now) || !leaf.NotAfter.Equal(now.Add(48*time.Hour)) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("CA %t, basic constraints %t, usages %b %v", leaf.IsCA, leaf.BasicConstraintsValid, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if string(leaf.AuthorityKeyId) != string(intermediate.Certs[0].SubjectKeyId) || leaf.SerialNumber.BitLen() < 32 {
		t.Errorf("authority key %x, serial %s", leaf.AuthorityKeyId, leaf.SerialNumber)
	}
	roots, pool := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca[0])
	pool.AddCert(chain[1])
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool, DNSName: "a.example.org", CurrentTime: now.Add(time.Minute)}); err != nil {
		t.Errorf("a client does not accept it: %v", err)
	}
}

func TestLeafNeverOutlivesItsCA(t *testing.T) {
	for _, tc := range []struct {
		reason    string
		caEnds    time.Duration
		asked     time.Duration
		want      time.Duration
		shortened bool
	}{
		{"shorter than the CA's rest", 100 * time.Hour, 48 * time.Hour, 48 * time.Hour, false},
		{"as long", 48 * time.Hour, 48 * time.Hour, 48 * time.Hour, false},
		{"a second longer", 48*time.Hour - time.Second, 48 * time.Hour, 48*time.Hour - time.Second, true},
		{"much longer", time.Hour, 10000 * time.Hour, time.Hour, true},
	} {
		ca := newCA(t, "ca", nil, func(c *x509.Certificate) { c.NotAfter = now.Add(tc.caEnds) })
		bundle, shortened := issue(t, ca, &cmapi.CertificateSpec{CommonName: "a", Duration: &metav1.Duration{Duration: tc.asked}}, newKey(t, p256))
		leaf := must(ParseCertificates(bundle.Chain))[0]
		if !leaf.NotAfter.Equal(now.Add(tc.want)) || shortened != tc.shortened {
			t.Errorf("%s: ends after %s, shortened %t", tc.reason, leaf.NotAfter.Sub(now), shortened)
		}
	}
}

// What lies in a CA Secret's ca.crt and does not belong to the CA must not keep the CA from signing.
func TestUnrelatedExtraCertificates(t *testing.T) {
	ca, other := newCA(t, "ca", nil, nil), newCA(t, "other", nil, nil)
	request := requestFor(t, &cmapi.CertificateSpec{CommonName: "a"}, newKey(t, p256))
	template := must(NewTemplate(must(ParseRequest(request.Request)), request, now))
	bundle, err := ca.Sign(template, other.Certs[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := must(ParseCertificates(bundle.CA)); !got[0].Equal(ca.Certs[0]) {
		t.Errorf("the CA is %s", got[0].Subject)
	}
}

func TestCheckCA(t *testing.T) {
	for _, tc := range []struct {
		reason string
		change func(*x509.Certificate)
		want   string
	}{
		{"a CA", nil, ""},
		{"without key usages everything is allowed", func(c *x509.Certificate) { c.KeyUsage = 0 }, ""},
		{"no CA", func(c *x509.Certificate) { c.IsCA = false }, "certificate is not a CA"},
		{"no basic constraints", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }, "certificate is not a CA"},
		{"a CA that may not sign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, `the CA's certificate lacks the key usage "cert sign"`},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, "the CA's certificate is not valid before 2026-03-01T12:00:01Z"},
		{"valid from now", func(c *x509.Certificate) { c.NotBefore = now }, ""},
		{"valid until now", func(c *x509.Certificate) { c.NotAfter = now }, ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, "the CA's certificate expired at 2026-03-01T11:59:59Z: renew it"},
	} {
		ca := newCA(t, "ca", nil, tc.change)
		err := errors.Join(ca.CheckCA(), ca.CheckTime(now))
		if (err == nil) != (tc.want == "") || err != nil && err.Error() != tc.want {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
}

func TestNewTemplate(t *testing.T) {
	usage := func(u x509.KeyUsage) pkix.Extension {
		return pkix.Extension{Id: oidKeyUsage, Critical: true, Value: must(keyUsageBits(u))}
	}
	ext := func(oids ...asn1.ObjectIdentifier) pkix.Extension {
		return pkix.Extension{Id: oidExtKeyUsage, Value: must(asn1.Marshal(oids))}
	}
	basic := func(der ...byte) pkix.Extension { return pkix.Extension{Id: oidBasic, Value: der} }
	both := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	server := extKeyUsages[cmapi.UsageServerAuth].oid
	for _, tc := range []struct {
		reason     string
		extensions []pkix.Extension
		request    cmapi.CertificateRequestSpec
		want       string
	}{
		{"a CSR that states no usages", nil, cmapi.CertificateRequestSpec{Usages: []cmapi.KeyUsage{cmapi.UsageServerAuth}}, ""},
		{"the same key usages", []pkix.Extension{usage(both)}, cmapi.CertificateRequestSpec{}, ""},
		{"other key usages", []pkix.Extension{usage(both | x509.KeyUsageCertSign)}, cmapi.CertificateRequestSpec{}, "the key usages in the CSR are not those of spec.usages"},
		{"the same extended usages", []pkix.Extension{ext(server)}, cmapi.CertificateRequestSpec{Usages: []cmapi.KeyUsage{cmapi.UsageServerAuth}}, ""},
		{"other extended usages", []pkix.Extension{ext(server)}, cmapi.CertificateRequestSpec{Usages: []cmapi.KeyUsage{cmapi.UsageClientAuth}}, "the extended key usages in the CSR are not those of spec.usages"},
		{"extended usages that were not asked for", []pkix.Extension{ext(server)}, cmapi.CertificateRequestSpec{}, "the extended key usages in the CSR are not those of spec.usages"},
		{"a CA flag on both sides", []pkix.Extension{basic(0x30, 3, 1, 1, 0xff)}, cmapi.CertificateRequestSpec{IsCA: true}, ""},
		{"a CA flag in the CSR only", []pkix.Extension{basic(0x30, 3, 1, 1, 0xff)}, cmapi.CertificateRequestSpec{}, "the CSR's basic constraints do not agree with spec.isCA"},
		{"a CA flag in the request only", []pkix.Extension{basic(0x30, 0)}, cmapi.CertificateRequestSpec{IsCA: true}, "the CSR's basic constraints do not agree with spec.isCA"},
		{"key usages that don't decode", []pkix.Extension{{Id: oidKeyUsage, Value: []byte{5, 0}}}, cmapi.CertificateRequestSpec{}, "the key usage extension is not a BIT STRING"},
		{"extended usages that don't decode", []pkix.Extension{{Id: oidExtKeyUsage, Value: []byte{5, 0}}}, cmapi.CertificateRequestSpec{}, "the CSR's extended key usage extension is malformed"},
		{"basic constraints that don't decode", []pkix.Extension{basic(5, 0)}, cmapi.CertificateRequestSpec{}, "the CSR's basic constraints extension is malformed"},
		{"an unknown usage", nil, cmapi.CertificateRequestSpec{Usages: []cmapi.KeyUsage{"all"}}, `spec.usages: unknown key usage "all"`},
		{"no lifetime", nil, cmapi.CertificateRequestSpec{Duration: &metav1.Duration{}}, "spec.duration: 0s is not a lifetime"},
		{"a negative lifetime", nil, cmapi.CertificateRequestSpec{Duration: &metav1.Duration{Duration: -time.Hour}}, "spec.duration: -1h0m0s is not a lifetime"},
	} {
		_, err := NewTemplate(foreignRequest(t, tc.extensions...), &tc.request, now)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
}

// The leaf has what the CSR asked for in the CSR's own bytes: subject, names and their criticality, constraints.
func TestTemplateKeepsTheRequest(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	constraints := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: []byte{0x30, 0x0f, 0xa0, 0x0d, 0x30, 0x0b, 0x82, 0x09, 'a', '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e'}}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte{5, 0}}
	csr := foreignRequest(t, constraints, unknown)
	template, err := NewTemplate(csr, &cmapi.CertificateRequestSpec{IsCA: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := ca.Sign(template)
	if err != nil {
		t.Fatal(err)
	}
	leaf := must(ParseCertificates(bundle.Chain))[0]
	if string(leaf.RawSubject) != string(csr.RawSubject) {
		t.Error("the subject's bytes differ")
	}
	found := map[string]string{}
	for _, e := range leaf.Extensions {
		found[e.Id.String()] = string(e.Value)
	}
	for _, e := range csr.Extensions {
		if e.Id.Equal(unknown.Id) {
			continue
		}
		if found[e.Id.String()] != string(e.Value) {
			t.Errorf("extension %s is % x, want % x", e.Id, found[e.Id.String()], e.Value)
		}
	}
	if _, ok := found[unknown.Id.String()]; ok {
		t.Error("an extension that nobody vouches for was copied")
	}
	if len(leaf.PermittedDNSDomains) != 1 {
		t.Errorf("name constraints: %v", leaf.PermittedDNSDomains)
	}
	san := must(ParseRequest(must(NewRequest(&cmapi.CertificateSpec{DNSNames: []string{"a.example.org"}}, newKey(t, p256)))))
	bundle, err = ca.Sign(must(NewTemplate(san, &cmapi.CertificateRequestSpec{}, now)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range must(ParseCertificates(bundle.Chain))[0].Extensions {
		if e.Id.Equal(oidSAN) && !e.Critical {
			t.Error("the SANs of a certificate with an empty subject are not critical")
		}
	}
}

func TestSelfSign(t *testing.T) {
	for _, spec := range []KeySpec{p256, {cmapi.RSAKeyAlgorithm, 2048}, {cmapi.Ed25519KeyAlgorithm, 0}} {
		key := newKey(t, spec)
		request := requestFor(t, &cmapi.CertificateSpec{CommonName: "root", IsCA: true}, key)
		template := must(NewTemplate(must(ParseRequest(request.Request)), request, now))
		bundle, err := SelfSign(template, key)
		if err != nil {
			t.Fatalf("%v: %v", spec, err)
		}
		certs := must(ParseCertificates(bundle.Chain))
		if len(certs) != 1 || !selfSigned(certs[0]) || string(bundle.CA) != string(bundle.Chain) {
			t.Errorf("%v: not one self-signed certificate that is its own CA", spec)
		}
		if pair := (KeyPair{Certs: certs, Key: key}); pair.CheckCA() != nil || pair.CheckTime(now) != nil {
			t.Errorf("%v: can't sign now", spec)
		}
		if _, err := SelfSign(template, newKey(t, p256)); err == nil {
			t.Errorf("%v: another key has signed", spec)
		}
	}
}

func TestParseKeyPair(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	cert, key := EncodeCertificates(ca.Certs...), must(EncodeKey(ca.Key, ""))
	for _, tc := range []struct {
		reason    string
		cert, key []byte
		want      string
	}{
		{"a pair", cert, key, ""},
		{"no certificate", nil, key, "tls.crt: " + ErrNoCertificate.Error()},
		{"no key", cert, nil, "tls.key: " + ErrNoKey.Error()},
		{"swapped", key, cert, "tls.crt: " + ErrNoCertificate.Error()},
		{"strangers", cert, must(EncodeKey(newKey(t, p256), "")), "tls.key is not the key of the certificate in tls.crt"},
	} {
		_, err := ParseKeyPair(tc.cert, tc.key)
		if (err == nil) != (tc.want == "") || err != nil && err.Error() != tc.want {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
}
