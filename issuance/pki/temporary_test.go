package pki

import (
	"crypto/x509"
	"testing"
)

func TestTemporary(t *testing.T) {
	key := newKey(t, p256)
	chain, err := Temporary(fullSpec(), key, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf := must(ParseCertificates(chain))[0]
	if leaf.VerifyHostname("a.example.org") != nil || KeyIDOf(leaf.PublicKey) != KeyIDOf(key.Public()) || leaf.Issuer.CommonName != "cert-manager.local" || leaf.Issuer.SerialNumber != "1234567890" {
		t.Errorf("%s from %s", leaf.Subject, leaf.Issuer)
	}
	data := map[string][]byte{"tls.key": must(EncodeKey(key, "")), "tls.crt": chain}
	if d := NewDigest(data); d.Flaw != Sound || !d.Temporary {
		t.Errorf("its digest: %+v", d)
	}
	data["tls.crt"] = EncodeCertificates(newCA(t, "real", nil, func(c *x509.Certificate) { c.IsCA = false }).Certs...)
	if NewDigest(data).Temporary {
		t.Error("a real certificate counts as temporary")
	}
}

func TestRequestDigestText(t *testing.T) {
	spec := fullSpec()
	request := requestFor(t, spec, newKey(t, p256))
	whole := NewRequestDigest(request.Request)
	if again := NewRequestDigest(whole.Text()); again != whole {
		t.Errorf("%+v comes back as %+v", whole, again)
	}
	broken := NewRequestDigest([]byte("x"))
	if again := NewRequestDigest(broken.Text()); again != broken || again.Err() == nil {
		t.Errorf("%+v comes back as %+v", broken, again)
	}
	if NewRequestDigest(whole.Text()[:40]).Err() == nil {
		t.Error("half a digest counts as one")
	}
	if n := len(whole.Text()); n > 200 {
		t.Errorf("a digest takes %d bytes", n)
	}
}
