package pki

import (
	"bytes"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestDigestFlaws(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	key := newKey(t, p256)
	bundle, _ := issue(t, ca, &cmapi.CertificateSpec{CommonName: "a"}, key)
	keyPEM, other := must(EncodeKey(key, "")), must(EncodeKey(newKey(t, p256), ""))
	garbage := []byte("garbage")
	for _, tc := range []struct {
		reason string
		data   map[string][]byte
		flaw   Flaw
		detail string
		key    bool
	}{
		{"a pair", map[string][]byte{"tls.key": keyPEM, "tls.crt": bundle.Chain}, Sound, "", true},
		{"nothing", nil, NoData, "", false},
		{"an empty map", map[string][]byte{}, NoData, "", false},
		{"other data", map[string][]byte{"password": garbage}, NoKey, "", false},
		{"a key that is empty", map[string][]byte{"tls.key": {}, "tls.crt": bundle.Chain}, NoKey, "", false},
		{"no certificate", map[string][]byte{"tls.key": keyPEM}, NoCert, "", true},
		{"a certificate that is empty", map[string][]byte{"tls.key": keyPEM, "tls.crt": {}}, NoCert, "", true},
		{"no certificate and no usable key", map[string][]byte{"tls.key": garbage}, NoCert, "", false},
		{"a key that is garbage", map[string][]byte{"tls.key": garbage, "tls.crt": bundle.Chain}, BadKey, ErrNoKey.Error(), false},
		{"both are garbage", map[string][]byte{"tls.key": garbage, "tls.crt": garbage}, BadKey, ErrNoKey.Error(), false},
		{"a certificate that is garbage", map[string][]byte{"tls.key": keyPEM, "tls.crt": garbage}, BadCert, ErrNoCertificate.Error(), true},
		{"strangers", map[string][]byte{"tls.key": other, "tls.crt": bundle.Chain}, KeyMismatch, "tls.key is not the key of the certificate in tls.crt", true},
		{"a chain upside down", map[string][]byte{"tls.key": keyPEM, "tls.crt": append(bytes.Clone(bundle.CA), bundle.Chain...)}, KeyMismatch, "tls.key is not the key of the certificate in tls.crt", true},
	} {
		d := NewDigest(tc.data)
		if d.Flaw != tc.flaw || d.Detail != tc.detail {
			t.Errorf("%s: flaw %d %q, want %d %q", tc.reason, d.Flaw, d.Detail, tc.flaw, tc.detail)
		}
		if (d.Key != KeyID{}) != tc.key || (d.KeySpec != KeySpec{}) != tc.key {
			t.Errorf("%s: a key was found: %t %v", tc.reason, d.Key != KeyID{}, d.KeySpec)
		}
	}
}

func TestDigest(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	key := newKey(t, p256)
	spec := fullSpec()
	bundle, _ := issue(t, ca, spec, key)
	keyPEM := must(EncodeKey(key, ""))
	data := map[string][]byte{"tls.key": keyPEM, "tls.crt": bundle.Chain}
	d := NewDigest(data)
	if d.Key != KeyIDOf(key.Public()) || d.KeySpec != p256 || !d.NotBefore.Equal(now) || !d.NotAfter.Equal(now.Add(48*time.Hour)) {
		t.Errorf("digest %+v", d)
	}
	if leaf, ok := LeafOf(bundle.Chain); !ok || leaf != d.Leaf {
		t.Error("the leaf's hash is not LeafOf's")
	}
	if id, end, err := LeafKey(bundle.Chain); err != nil || id != d.Key || !end.Equal(d.NotAfter) {
		t.Errorf("LeafKey: %x %s %v", id, end, err)
	}
	if names, err := NamesOf(spec); err != nil || names != d.Names {
		t.Errorf("the certificate's names are not its spec's (%v)", err)
	}
	if _, ok := LeafOf(nil); ok {
		t.Error("no chain has a leaf")
	}
	if _, _, err := LeafKey([]byte("x")); err == nil {
		t.Error("garbage has a leaf")
	}
}

func TestDigestFormats(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	key := newKey(t, p256)
	bundle, _ := issue(t, ca, &cmapi.CertificateSpec{CommonName: "a"}, key)
	keyPEM := must(EncodeKey(key, ""))
	block, _ := pem.Decode(keyPEM)
	combined := append(append(append([]byte(nil), keyPEM...), '\n'), bundle.Chain...)
	if diff := cmp.Diff(map[string][]byte{"key.der": block.Bytes, "tls-combined.pem": combined}, OutputFormats(keyPEM, bundle.Chain)); diff != "" {
		t.Errorf("formats: -want +got\n%s", diff)
	}
	for _, tc := range []struct {
		reason                 string
		extra                  map[string][]byte
		der, combined, current bool
	}{
		{"none", nil, false, false, true},
		{"DER", map[string][]byte{"key.der": block.Bytes}, true, false, true},
		{"both", map[string][]byte{"key.der": block.Bytes, "tls-combined.pem": combined}, true, true, true},
		{"one of another key", map[string][]byte{"key.der": []byte("x"), "tls-combined.pem": combined}, true, true, false},
		{"an empty one", map[string][]byte{"tls-combined.pem": {}}, false, true, false},
	} {
		data := map[string][]byte{"tls.key": keyPEM, "tls.crt": bundle.Chain}
		maps.Copy(data, tc.extra)
		d := NewDigest(data)
		if d.DER != tc.der || d.Combined != tc.combined || d.FormatsCurrent != tc.current {
			t.Errorf("%s: DER %t, combined %t, current %t", tc.reason, d.DER, d.Combined, d.FormatsCurrent)
		}
	}
}

func TestNamesOf(t *testing.T) {
	base := cmapi.CertificateSpec{CommonName: "a.example.org", DNSNames: []string{"b.example.org", "a.example.org"}, IPAddresses: []string{"10.0.0.1"}}
	for _, tc := range []struct {
		reason string
		spec   cmapi.CertificateSpec
		same   bool
	}{
		{"another order", cmapi.CertificateSpec{CommonName: "a.example.org", DNSNames: []string{"a.example.org", "b.example.org"}, IPAddresses: []string{"10.0.0.1"}}, true},
		{"the common name only in the subject", cmapi.CertificateSpec{CommonName: "a.example.org", DNSNames: []string{"b.example.org"}, IPAddresses: []string{"10.0.0.1"}}, true},
		{"the common name only among the SANs", cmapi.CertificateSpec{DNSNames: []string{"a.example.org", "b.example.org"}, IPAddresses: []string{"10.0.0.1"}}, true},
		{"one name less", cmapi.CertificateSpec{CommonName: "a.example.org", IPAddresses: []string{"10.0.0.1"}}, false},
		{"another kind of name", cmapi.CertificateSpec{CommonName: "a.example.org", DNSNames: []string{"b.example.org", "10.0.0.1"}}, false},
		{"a URI more", cmapi.CertificateSpec{DNSNames: []string{"a.example.org", "b.example.org"}, IPAddresses: []string{"10.0.0.1"}, URIs: []string{"a:b"}}, false},
		{"an e-mail address more", cmapi.CertificateSpec{DNSNames: []string{"a.example.org", "b.example.org"}, IPAddresses: []string{"10.0.0.1"}, EmailAddresses: []string{"a@b"}}, false},
		{"two names run together", cmapi.CertificateSpec{DNSNames: []string{"a.example.orgb.example.org"}, IPAddresses: []string{"10.0.0.1"}}, false},
	} {
		if got := must(NamesOf(&tc.spec)) == must(NamesOf(&base)); got != tc.same {
			t.Errorf("%s: the same %t, want %t", tc.reason, got, tc.same)
		}
	}
	if must(NamesOf(&cmapi.CertificateSpec{CommonName: "10.0.0.1", IPAddresses: []string{"10.0.0.1"}})) != must(NamesOf(&cmapi.CertificateSpec{IPAddresses: []string{"10.0.0.1"}})) {
		t.Error("an IP address as common name counts twice")
	}
	if _, err := NamesOf(&cmapi.CertificateSpec{IPAddresses: []string{"x"}}); err == nil {
		t.Error("no IP address has a hash")
	}
}

func TestLeafAnnotations(t *testing.T) {
	ca := newCA(t, "ca", nil, nil)
	key := newKey(t, p256)
	always := map[string]string{
		"cert-manager.io/common-name": "", "cert-manager.io/alt-names": "", "cert-manager.io/ip-sans": "", "cert-manager.io/uri-sans": "",
	}
	full := map[string]string{
		"cert-manager.io/common-name": "full.example.org", "cert-manager.io/alt-names": "a.example.org,*.example.org",
		"cert-manager.io/ip-sans": "10.0.0.1,2001:db8::1,10.0.0.2", "cert-manager.io/uri-sans": "spiffe://example.org/ns/a,https://example.org:8443/x?y=z",
		"cert-manager.io/email-sans": "ops@example.org", "cert-manager.io/subject-organizations": `Ample,"Ex, Inc."`,
		"cert-manager.io/subject-organizationalunits": "Ops", "cert-manager.io/subject-countries": "CH", "cert-manager.io/subject-provinces": "BE",
		"cert-manager.io/subject-localities": "Bern", "cert-manager.io/subject-streetaddresses": "Gasse 1", "cert-manager.io/subject-postalcodes": "3000",
		"cert-manager.io/subject-serialnumber": "42",
	}
	alone := maps.Clone(always)
	alone["cert-manager.io/alt-names"] = "a"
	for _, tc := range []struct {
		reason string
		spec   *cmapi.CertificateSpec
		want   map[string]string
	}{
		{"everything", fullSpec(), full},
		{"four are there even when empty", &cmapi.CertificateSpec{DNSNames: []string{"a"}}, alone},
	} {
		bundle, _ := issue(t, ca, tc.spec, key)
		got := LeafAnnotations(bundle.Chain)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
		for key := range got {
			if !IsLeafAnnotation(key) {
				t.Errorf("%s: %s is not known as one of the leaf's", tc.reason, key)
			}
		}
	}
	if got := LeafAnnotations([]byte("x")); got != nil {
		t.Errorf("garbage is described by %v", got)
	}
	if IsLeafAnnotation("cert-manager.io/issuer-name") || IsLeafAnnotation("") {
		t.Error("the issuer's name does not describe the leaf")
	}
}
