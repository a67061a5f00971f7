package pki

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// What parses must encode, and come back the same.
func FuzzParseKey(f *testing.F) {
	for _, spec := range []KeySpec{p256, {cmapi.RSAKeyAlgorithm, 2048}, {cmapi.Ed25519KeyAlgorithm, 0}} {
		key := newKey(f, spec)
		f.Add(must(EncodeKey(key, cmapi.PKCS1)))
		f.Add(must(EncodeKey(key, cmapi.PKCS8)))
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParseKey(text)
		if err != nil {
			if key != nil {
				t.Fatal("a key beside an error")
			}
			return
		}
		if KeyIDOf(key.Public()) == (KeyID{}) || SpecOfKey(key.Public()) == (KeySpec{}) {
			t.Fatal("a key that nothing is known of")
		}
		for _, encoding := range []cmapi.PrivateKeyEncoding{cmapi.PKCS1, cmapi.PKCS8} {
			again, err := EncodeKey(key, encoding)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseKey(again); err != nil || KeyIDOf(back.Public()) != KeyIDOf(key.Public()) {
				t.Fatalf("a key does not come back: %v", err)
			}
		}
	})
}

// A chain is a selection of what was given, in PEM that parses, and making it once more changes nothing.
func FuzzNewBundle(f *testing.F) {
	root := newCA(f, "root", nil, nil)
	mid := newCA(f, "mid", &root, nil)
	leaf := newLeaf(f, "leaf", &mid)
	f.Add(EncodeCertificates(leaf, mid.Certs[0], root.Certs[0]))
	f.Add(EncodeCertificates(root.Certs[0], leaf))
	f.Add(EncodeCertificates(root.Certs...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseCertificates(text)
		if err != nil {
			return
		}
		LeafAnnotations(text)
		bundle, err := NewBundle(list)
		if err != nil {
			return
		}
		chain, err := ParseCertificates(bundle.Chain)
		if err != nil || len(chain) > len(list) {
			t.Fatalf("%d certificates from %d: %v", len(chain), len(list), err)
		}
		if len(chain) > 1 && selfSigned(chain[len(chain)-1]) {
			t.Fatal("the root is in the chain")
		}
		again, err := NewBundle(chain)
		if err != nil || !bytes.Equal(again.Chain, bundle.Chain) {
			t.Fatalf("the chain's chain is another one: %v", err)
		}
	})
}

// Whatever is asked for: no leaf that outlives its CA, of another key, or a CA unasked.
func FuzzSignRequest(f *testing.F) {
	ca := newCA(f, "ca", nil, func(c *x509.Certificate) { c.NotAfter = now.Add(24 * time.Hour) })
	key := newKey(f, p256)
	f.Add(must(NewRequest(fullSpec(), key)), false, "server auth", int64(time.Hour))
	f.Add(must(NewRequest(&cmapi.CertificateSpec{CommonName: "ca", IsCA: true}, key)), true, "", int64(48*time.Hour))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), false, "any", int64(0))
	f.Fuzz(func(t *testing.T, text []byte, isCA bool, usage string, duration int64) {
		NewRequestDigest(text)
		csr, err := ParseRequest(text)
		if err != nil {
			return
		}
		spec := &cmapi.CertificateRequestSpec{Request: text, IsCA: isCA, Duration: &metav1.Duration{Duration: time.Duration(duration)}}
		if usage != "" {
			spec.Usages = []cmapi.KeyUsage{cmapi.KeyUsage(usage)}
		}
		template, err := NewTemplate(csr, spec, now)
		if err != nil {
			return
		}
		ca.Shorten(template)
		bundle, err := ca.Sign(template)
		if err != nil {
			return
		}
		leaf := must(ParseCertificates(bundle.Chain))[0]
		if leaf.NotAfter.After(ca.Certs[0].NotAfter) || leaf.IsCA != isCA || KeyIDOf(leaf.PublicKey) != KeyIDOf(csr.PublicKey) {
			t.Fatalf("signed: until %s, CA %t", leaf.NotAfter, leaf.IsCA)
		}
	})
}

// A digest is sound exactly when the two texts are a key pair.
func FuzzNewDigest(f *testing.F) {
	ca := newCA(f, "ca", nil, nil)
	key, cert := must(EncodeKey(ca.Key, "")), EncodeCertificates(ca.Certs...)
	f.Add(key, cert, []byte(nil))
	f.Add(key, []byte(nil), []byte("x"))
	f.Add([]byte(nil), cert, []byte(nil))
	f.Add(cert, key, []byte(nil))
	f.Fuzz(func(t *testing.T, key, cert, der []byte) {
		d := NewDigest(map[string][]byte{"tls.key": key, "tls.crt": cert, "key.der": der})
		_, err := ParseKeyPair(cert, key)
		if (d.Flaw == Sound) != (err == nil) {
			t.Fatalf("flaw %d (%s), and the pair: %v", d.Flaw, d.Detail, err)
		}
	})
}
