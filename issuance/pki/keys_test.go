package pki

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestKeySpecOf(t *testing.T) {
	for _, tc := range []struct {
		reason string
		in     *cmapi.CertificatePrivateKey
		want   KeySpec
	}{
		{"nothing said", nil, KeySpec{cmapi.RSAKeyAlgorithm, 2048}},
		{"an empty struct", &cmapi.CertificatePrivateKey{}, KeySpec{cmapi.RSAKeyAlgorithm, 2048}},
		{"a size alone is RSA's", &cmapi.CertificatePrivateKey{Size: 4096}, KeySpec{cmapi.RSAKeyAlgorithm, 4096}},
		{"ECDSA's default", &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm}, KeySpec{cmapi.ECDSAKeyAlgorithm, 256}},
		{"ECDSA with a size", &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 521}, KeySpec{cmapi.ECDSAKeyAlgorithm, 521}},
		{"Ed25519 ignores the size", &cmapi.CertificatePrivateKey{Algorithm: cmapi.Ed25519KeyAlgorithm, Size: 2048}, KeySpec{cmapi.Ed25519KeyAlgorithm, 0}},
		{"an unknown algorithm stays for Validate", &cmapi.CertificatePrivateKey{Algorithm: "DSA"}, KeySpec{"DSA", 0}},
	} {
		if got := KeySpecOf(tc.in); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.reason, got, tc.want)
		}
	}
}

func TestKeySpecValidate(t *testing.T) {
	for spec, ok := range map[KeySpec]bool{
		{cmapi.RSAKeyAlgorithm, 2047}:   false,
		{cmapi.RSAKeyAlgorithm, 2048}:   true,
		{cmapi.RSAKeyAlgorithm, 8192}:   true,
		{cmapi.RSAKeyAlgorithm, 8193}:   false,
		{cmapi.ECDSAKeyAlgorithm, 224}:  false,
		{cmapi.ECDSAKeyAlgorithm, 256}:  true,
		{cmapi.ECDSAKeyAlgorithm, 384}:  true,
		{cmapi.ECDSAKeyAlgorithm, 521}:  true,
		{cmapi.ECDSAKeyAlgorithm, 512}:  false,
		{cmapi.Ed25519KeyAlgorithm, 0}:  true,
		{"DSA", 0}:                      false,
		{cmapi.RSAKeyAlgorithm, -1}:     false,
		{cmapi.ECDSAKeyAlgorithm, 2048}: false,
	} {
		if err := spec.Validate(); (err == nil) != ok {
			t.Errorf("%v: %v, want accepted: %t", spec, err, ok)
		}
		if ok {
			continue
		}
		if _, err := GenerateKey(spec); err == nil {
			t.Errorf("GenerateKey(%v) made a key", spec)
		}
	}
}

func TestKeysRoundTrip(t *testing.T) {
	for _, spec := range []KeySpec{
		{cmapi.RSAKeyAlgorithm, 2048}, p256, {cmapi.ECDSAKeyAlgorithm, 384}, {cmapi.ECDSAKeyAlgorithm, 521}, {cmapi.Ed25519KeyAlgorithm, 0},
	} {
		key := newKey(t, spec)
		if got := SpecOfKey(key.Public()); got != spec {
			t.Errorf("a key of %v has %v", spec, got)
		}
		traditional := map[cmapi.PrivateKeyAlgorithm]string{
			cmapi.RSAKeyAlgorithm: "RSA PRIVATE KEY", cmapi.ECDSAKeyAlgorithm: "EC PRIVATE KEY", cmapi.Ed25519KeyAlgorithm: "PRIVATE KEY",
		}[spec.Algorithm]
		for encoding, block := range map[cmapi.PrivateKeyEncoding]string{"": traditional, cmapi.PKCS1: traditional, cmapi.PKCS8: "PRIVATE KEY"} {
			text, err := EncodeKey(key, encoding)
			if err != nil {
				t.Fatalf("%v as %q: %v", spec, encoding, err)
			}
			if b, rest := pem.Decode(text); b == nil || b.Type != block || len(rest) != 0 {
				t.Errorf("%v as %q is not one %s block", spec, encoding, block)
			}
			back, err := ParseKey(text)
			if err != nil {
				t.Fatalf("%v as %q: %v", spec, encoding, err)
			}
			if KeyIDOf(back.Public()) != KeyIDOf(key.Public()) {
				t.Errorf("%v as %q came back as another key", spec, encoding)
			}
		}
	}
}

func TestParseKeyPassesOverOtherBlocks(t *testing.T) {
	key := newKey(t, p256)
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	second := must(EncodeKey(newKey(t, p256), cmapi.PKCS8))
	text := bytes.Join([][]byte{[]byte("a comment\n"), params, must(EncodeKey(key, "")), second}, nil)
	got, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if KeyIDOf(got.Public()) != KeyIDOf(key.Public()) {
		t.Error("it is not the first key that was read")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	key := newKey(t, p256)
	der := must(x509.MarshalPKCS8PrivateKey(key))
	x25519 := must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))
	secret := []byte("a passphrase someone put here by mistake")
	encode := func(kind string, body []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: body}) }
	for _, tc := range []struct {
		reason string
		text   []byte
		want   string
	}{
		{"nothing", nil, ErrNoKey.Error()},
		{"no PEM", secret, ErrNoKey.Error()},
		{"DER without PEM", der, ErrNoKey.Error()},
		{"a certificate", encode("CERTIFICATE", secret), ErrNoKey.Error()},
		{"an encrypted key is not one we can use", encode("ENCRYPTED PRIVATE KEY", secret), ErrNoKey.Error()},
		{"garbage as PKCS #8", encode("PRIVATE KEY", secret), "private key is not valid PKCS #8"},
		{"garbage as SEC 1", encode("EC PRIVATE KEY", secret), "private key is not valid SEC 1"},
		{"garbage as PKCS #1", encode("RSA PRIVATE KEY", secret), "private key is not valid PKCS #1"},
		{"another form than the label says", encode("RSA PRIVATE KEY", der), "private key is not valid PKCS #1"},
		{"a key that can't sign", encode("PRIVATE KEY", x25519), "private key is neither RSA, ECDSA nor Ed25519"},
		{"too long, whatever it is", bytes.Repeat([]byte("x"), MaxKeyBytes+1), "private key PEM has 13001 bytes, more than the 13000 allowed"},
	} {
		_, err := ParseKey(tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
			continue
		}
		assertNoQuote(t, tc.reason, err, secret, der, x25519)
	}
	if _, err := ParseKey([]byte("x")); !errors.Is(err, ErrNoKey) {
		t.Errorf("%v is not ErrNoKey", err)
	}
}

// assertNoQuote fails when an error holds eight bytes of a secret in any usual form.
func assertNoQuote(t *testing.T, reason string, err error, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		for i := 0; i+8 <= len(s); i++ {
			if part := s[i : i+8]; strings.Contains(err.Error(), string(part)) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(part)[:10]) {
				t.Errorf("%s: the error quotes its input: %v", reason, err)
				return
			}
		}
	}
}

func TestKeyIDOf(t *testing.T) {
	a, b := newKey(t, p256), newKey(t, p256)
	again := must(ParseKey(must(EncodeKey(a, ""))))
	switch {
	case KeyIDOf(a.Public()) != KeyIDOf(again.Public()):
		t.Error("a key has two identities")
	case KeyIDOf(a.Public()) == KeyIDOf(b.Public()):
		t.Error("two keys have one identity")
	case KeyIDOf("no key") != (KeyID{}):
		t.Error("what is no key has an identity")
	}
	if got := SpecOfKey("no key"); got != (KeySpec{}) {
		t.Errorf("what is no key is a %v", got)
	}
	if got := SpecOfKey(&must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).PublicKey); got.Size != 224 {
		t.Errorf("a foreign key's size is %d", got.Size)
	}
}

func TestEncodeKeyRefusesForeignKinds(t *testing.T) {
	if _, err := EncodeKey(foreignKey{newKey(t, KeySpec{cmapi.RSAKeyAlgorithm, 2048}).(*rsa.PrivateKey)}, cmapi.PKCS8); err == nil {
		t.Error("a key of an unknown kind was encoded")
	}
}

type foreignKey struct{ *rsa.PrivateKey }
