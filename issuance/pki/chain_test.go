package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func TestNewBundle(t *testing.T) {
	root := newCA(t, "root", nil, nil)
	mid := newCA(t, "mid", &root, nil)
	low := newCA(t, "low", &mid, nil)
	other := newCA(t, "other", nil, nil)
	crossed := newCA(t, "root", &other, func(c *x509.Certificate) { c.SubjectKeyId = root.Certs[0].SubjectKeyId })
	crossed.Certs[0] = crossSign(t, root, other)
	r, m, l := root.Certs[0], mid.Certs[0], low.Certs[0]
	leaf, second := newLeaf(t, "leaf", &low), newLeaf(t, "second", &low)
	for _, tc := range []struct {
		reason string
		certs  []*x509.Certificate
		chain  []*x509.Certificate
		ca     *x509.Certificate
		err    string
	}{
		{"nothing", nil, nil, nil, ErrNoCertificate.Error()},
		{"a self-signed one alone", certs(r), certs(r), r, ""},
		{"a leaf alone has no CA", certs(leaf), certs(leaf), nil, ""},
		{"leaf and root", certs(m, r), certs(m), r, ""},
		{"in order", certs(leaf, l, m, r), certs(leaf, l, m), r, ""},
		{"shuffled", certs(r, l, leaf, m), certs(leaf, l, m), r, ""},
		{"upside down", certs(r, m, l, leaf), certs(leaf, l, m), r, ""},
		{"without the root: the highest is the CA", certs(m, leaf, l), certs(leaf, l, m), m, ""},
		{"said twice", certs(leaf, l, leaf, m, m, r, r), certs(leaf, l, m), r, ""},
		{"a gap", certs(leaf, m, r), nil, nil, "do not belong to one chain"},
		{"two leaves", certs(leaf, second, l), nil, nil, "do not belong to one chain"},
		{"a stranger", certs(leaf, l, other.Certs[0]), nil, nil, "do not belong to one chain"},
		{"two self-signed ones", certs(r, other.Certs[0]), nil, nil, "do not belong to one chain"},
		{"two ways up", certs(m, r, crossed.Certs[0], other.Certs[0]), nil, nil, "has two issuers"},
	} {
		got, err := NewBundle(tc.certs)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want %q", tc.reason, err, tc.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		if !bytes.Equal(got.Chain, EncodeCertificates(tc.chain...)) {
			t.Errorf("%s: the chain is %s", tc.reason, names(got.Chain))
		}
		var ca []byte
		if tc.ca != nil {
			ca = EncodeCertificates(tc.ca)
		}
		if !bytes.Equal(got.CA, ca) {
			t.Errorf("%s: the CA is %s", tc.reason, names(got.CA))
		}
	}
}

// A flood of certificates with one name must be refused before every pair of them is tried.
func TestNewBundleIsBounded(t *testing.T) {
	var flood []*x509.Certificate
	for range maxChainLength + 1 {
		flood = append(flood, newCA(t, "same", nil, nil).Certs[0])
	}
	if _, err := NewBundle(flood); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d certificates: %v", len(flood), err)
	}
}

func certs(list ...*x509.Certificate) []*x509.Certificate { return list }

func names(text []byte) string {
	var out []string
	list, _ := ParseCertificates(text)
	for _, c := range list {
		out = append(out, c.Subject.CommonName)
	}
	return strings.Join(out, ", ")
}

// crossSign returns subject's certificate as other signs it: the same name and key.
func crossSign(t *testing.T, subject, other KeyPair) *x509.Certificate {
	t.Helper()
	template := *subject.Certs[0]
	template.PublicKey, template.AuthorityKeyId = subject.Key.Public(), nil
	cert, err := create(&template, other.Certs[0], other.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestParseCertificates(t *testing.T) {
	a, b := newCA(t, "a", nil, nil), newCA(t, "b", nil, nil)
	key := must(EncodeKey(a.Key, ""))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte("\n")) }
	pa, pb := EncodeCertificates(a.Certs...), EncodeCertificates(b.Certs...)
	for _, tc := range []struct {
		reason, want, err string
		text              []byte
	}{
		{"one", "a", "", pa},
		{"two, in their order", "b, a", "", join(pb, pa)},
		{"comments and keys between them", "a, b", "", join([]byte("# a"), pa, key, []byte("# b"), pb)},
		{"nothing", "", ErrNoCertificate.Error(), nil},
		{"a key only", "", ErrNoCertificate.Error(), key},
		{"a broken one among good ones", "", "parsing certificate 2: ", join(pa, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), pb)},
		{"too long", "", "certificate PEM has 95001 bytes, more than the 95000 allowed", make([]byte, MaxChainBytes+1)},
	} {
		_, err := ParseCertificates(tc.text)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.err)
		}
		if got := names(tc.text); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
}
