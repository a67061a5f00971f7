package pki

import (
	"bytes"
	"crypto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

const password = "correct horse"

// chained is a leaf under an intermediate CA, in PEM: key, chain and root.
func chained(t testing.TB) (key, chain, ca []byte) {
	t.Helper()
	root := newCA(t, "root", nil, nil)
	mid := newCA(t, "mid", &root, nil)
	signer := newKey(t, p256)
	bundle, _ := issue(t, mid, &cmapi.CertificateSpec{CommonName: "leaf"}, signer)
	return must(EncodeKey(signer, cmapi.PKCS8)), bundle.Chain, bundle.CA
}

func TestJKS(t *testing.T) {
	key, chain, ca := chained(t)
	store, trust, err := JKS(key, chain, ca, "mine", password, now)
	if err != nil {
		t.Fatal(err)
	}
	ks := keystore.New()
	if err := ks.Load(bytes.NewReader(store), []byte(password)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"mine": true, "ca": true}, setOf(ks.Aliases())); diff != "" {
		t.Errorf("aliases of the keystore: -want +got\n%s", diff)
	}
	entry, err := ks.GetPrivateKeyEntry("mine", []byte(password))
	if err != nil || len(entry.CertificateChain) != 2 || !entry.CreationTime.Equal(now) {
		t.Errorf("the key's entry has %d certificates of %s: %v", len(entry.CertificateChain), entry.CreationTime, err)
	}
	ts := keystore.New()
	if err := ts.Load(bytes.NewReader(trust), []byte(password)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"ca": true}, setOf(ts.Aliases())); diff != "" {
		t.Errorf("aliases of the truststore: -want +got\n%s", diff)
	}
	if keystore.New().Load(bytes.NewReader(store), []byte("wrong")) == nil {
		t.Error("the keystore opens with a wrong password")
	}
	if _, none, err := JKS(key, chain, nil, "mine", password, now); none != nil || err != nil {
		t.Errorf("without a CA there is a truststore: %v", err)
	}
	two := append(append([]byte{}, ca...), EncodeCertificates(newCA(t, "other", nil, nil).Certs...)...)
	_, trust, err = JKS(key, chain, two, "mine", password, now)
	if err != nil || ts.Load(bytes.NewReader(trust), []byte(password)) != nil || !setOf(ts.Aliases())["ca-1"] {
		t.Errorf("a second CA: %v, %v", ts.Aliases(), err)
	}
}

func setOf(list []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range list {
		out[s] = true
	}
	return out
}

func TestPKCS12(t *testing.T) {
	key, chain, ca := chained(t)
	for profile := range profiles {
		store, trust, err := PKCS12(key, chain, ca, profile, password)
		if err != nil {
			t.Fatalf("profile %q: %v", profile, err)
		}
		private, leaf, others, err := pkcs12.DecodeChain(store, password)
		if err != nil || leaf.Subject.CommonName != "leaf" || len(others) != 2 || KeyIDOf(private.(crypto.Signer).Public()) != KeyIDOf(leaf.PublicKey) {
			t.Errorf("profile %q: leaf %v with %d more: %v", profile, leaf, len(others), err)
		}
		roots, err := pkcs12.DecodeTrustStore(trust, password)
		if err != nil || len(roots) != 1 || roots[0].Subject.CommonName != "root" {
			t.Errorf("profile %q, truststore: %d, %v", profile, len(roots), err)
		}
		if _, _, _, err := pkcs12.DecodeChain(store, "wrong"); err == nil {
			t.Errorf("profile %q opens with a wrong password", profile)
		}
	}
	if _, _, err := PKCS12(key, chain, ca, "Ancient", password); err == nil || !strings.Contains(err.Error(), "Ancient") {
		t.Errorf("an unknown profile: %v", err)
	}
	if _, none, err := PKCS12(key, chain, nil, "", password); none != nil || err != nil {
		t.Errorf("without a CA there is a truststore: %v", err)
	}
}

// Whatever is in the Secret: an error or keystores that open, and no error that quotes the input.
func FuzzKeystores(f *testing.F) {
	key, chain, ca := chained(f)
	f.Add(key, chain, ca, "certificate", password)
	f.Add(key, chain, []byte{}, "", "")
	f.Add([]byte("x"), chain, ca, "a", "b")
	f.Fuzz(func(t *testing.T, key, chain, ca []byte, alias, pass string) {
		if store, _, err := JKS(key, chain, ca, alias, pass, now); err == nil {
			if err := keystore.New().Load(bytes.NewReader(store), []byte(pass)); err != nil {
				t.Fatalf("a keystore that does not open: %v", err)
			}
		}
		if store, _, err := PKCS12(key, chain, ca, cmapi.Modern2023PKCS12Profile, pass); err == nil {
			if _, _, _, err := pkcs12.DecodeChain(store, pass); err != nil {
				t.Fatalf("a PKCS #12 file that does not open: %v", err)
			}
		}
	})
}
