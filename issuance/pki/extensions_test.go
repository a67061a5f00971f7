package pki

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestOtherNames(t *testing.T) {
	spec := &cmapi.CertificateSpec{
		DNSNames:   []string{"a.example.org"},
		OtherNames: []cmapi.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", UTF8Value: "user@example.org"}, {OID: "1.2.3", UTF8Value: "ü"}},
	}
	key, ca := newKey(t, p256), newCA(t, "ca", nil, nil)
	bundle, _ := issue(t, ca, spec, key)
	leaf := must(ParseCertificates(bundle.Chain))[0]
	got := must(otherNamesOf(leaf.Extensions))
	if diff := cmp.Diff([]string{"1.3.6.1.4.1.311.20.2.3=user@example.org", "1.2.3=ü"}, stringsOf(got)); diff != "" {
		t.Errorf("other names of the leaf: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec.DNSNames, leaf.DNSNames); diff != "" {
		t.Errorf("DNS names beside them: -want +got\n%s", diff)
	}
	request := requestFor(t, spec, key)
	digest := NewRequestDigest(request.Request)
	for _, tc := range []struct {
		reason string
		list   []cmapi.OtherName
		want   []string
	}{
		{"the same", spec.OtherNames, nil},
		{"another order", []cmapi.OtherName{spec.OtherNames[1], spec.OtherNames[0]}, nil},
		{"one of them", spec.OtherNames[:1], []string{"spec.otherNames"}},
		{"all removed: nobody is asked again", nil, nil},
	} {
		changed := *spec
		changed.OtherNames = tc.list
		if diff := cmp.Diff(tc.want, Mismatches(&changed, request, digest)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
	for want, list := range map[string][]cmapi.OtherName{
		"spec.otherNames[0].oid: ":       {{OID: "x", UTF8Value: "a"}},
		"spec.otherNames[1].utf8Value: ": {{OID: "1.2", UTF8Value: "a"}, {OID: "1.2"}},
	} {
		if _, err := ParseOtherNames(list); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v: %v, want %q", list, err, want)
		}
	}
}

func TestNameConstraints(t *testing.T) {
	spec := &cmapi.CertificateSpec{CommonName: "ca", IsCA: true, NameConstraints: &cmapi.NameConstraints{
		Critical:  true,
		Permitted: &cmapi.NameConstraintItem{DNSDomains: []string{"example.org"}, IPRanges: []string{"10.0.0.0/8", "2001:db8::/32"}, EmailAddresses: []string{"example.org"}, URIDomains: []string{".example.org"}},
		Excluded:  &cmapi.NameConstraintItem{DNSDomains: []string{"bad.example.org"}},
	}}
	ca := newCA(t, "root", nil, nil)
	bundle, _ := issue(t, ca, spec, newKey(t, p256))
	leaf := must(ParseCertificates(bundle.Chain))[0]
	if !leaf.PermittedDNSDomainsCritical {
		t.Error("the constraints are not critical")
	}
	if diff := cmp.Diff([][]string{{"example.org"}, {"bad.example.org"}, {"10.0.0.0/8", "2001:db8::/32"}, {"example.org"}, {".example.org"}},
		[][]string{leaf.PermittedDNSDomains, leaf.ExcludedDNSDomains, stringsOf(leaf.PermittedIPRanges), leaf.PermittedEmailAddresses, leaf.PermittedURIDomains}); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for want, c := range map[string]*cmapi.NameConstraints{
		"say what is permitted":                       {},
		"spec.nameConstraints.permitted.ipRanges[0]":  {Permitted: &cmapi.NameConstraintItem{IPRanges: []string{"10.0.0.1"}}},
		"spec.nameConstraints.excluded.dnsDomains[0]": {Excluded: &cmapi.NameConstraintItem{DNSDomains: []string{"ü"}}},
	} {
		if _, err := ParseNameConstraints(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if c, err := ParseNameConstraints(nil); c != nil || err != nil {
		t.Errorf("none: %v, %v", c, err)
	}
}

// The stdlib reads the constraints that we write, and verifies by them.
func TestNameConstraintsHold(t *testing.T) {
	root := newCA(t, "root", nil, nil)
	key := newKey(t, p256)
	bundle, _ := issue(t, root, &cmapi.CertificateSpec{CommonName: "mid", IsCA: true, NameConstraints: &cmapi.NameConstraints{
		Permitted: &cmapi.NameConstraintItem{DNSDomains: []string{"example.org"}, IPRanges: []string{"10.0.0.0/8"}},
	}}, key)
	mid := KeyPair{Certs: append(must(ParseCertificates(bundle.Chain)), root.Certs...), Key: key}
	roots, mids := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Certs[0])
	mids.AddCert(mid.Certs[0])
	for name, ok := range map[string]bool{"a.example.org": true, "example.com": false} {
		chain, _ := issue(t, mid, &cmapi.CertificateSpec{DNSNames: []string{name}, IPAddresses: []string{net.IPv4(10, 1, 2, 3).String()}}, newKey(t, p256))
		_, err := must(ParseCertificates(chain.Chain))[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: mids, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseOtherNames(f *testing.F) {
	f.Add(must(marshalSANs(Names{DNS: []string{"a"}, Others: []OtherName{{OID: []int{1, 2, 3}, Value: "x"}}})))
	f.Add([]byte{0x30, 0x02, 0xa0, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		names, err := parseOtherNames(der)
		if err == nil && len(names) > len(der) {
			t.Fatal("more names than bytes")
		}
	})
}
