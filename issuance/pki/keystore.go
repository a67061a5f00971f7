package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// DefaultJKSAlias is the name of the key's entry where a spec names none.
const DefaultJKSAlias = "certificate"

// KeystoreSet tells which keystores and truststores a Secret has, or ought to have.
type KeystoreSet struct{ JKS, JKSTrust, PKCS12, PKCS12Trust bool }

// WantedKeystores returns the set that a spec asks for; truststores exist only where there is a CA.
func WantedKeystores(spec *cmapi.CertificateSpec, hasCA bool) (set KeystoreSet) {
	k := spec.Keystores
	if k == nil {
		return set
	}
	set.JKS, set.PKCS12 = k.JKS != nil && k.JKS.Create, k.PKCS12 != nil && k.PKCS12.Create
	set.JKSTrust, set.PKCS12Trust = set.JKS && hasCA, set.PKCS12 && hasCA
	return set
}

func foundKeystores(data map[string][]byte) KeystoreSet {
	has := func(key string) bool { _, ok := data[key]; return ok }
	return KeystoreSet{has(cmapi.JKSSecretKey), has(cmapi.JKSTruststoreKey), has(cmapi.PKCS12SecretKey), has(cmapi.PKCS12TruststoreKey)}
}

// Keystores returns the keystores and truststores among a Secret's data.
func Keystores(data map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, key := range []string{cmapi.JKSSecretKey, cmapi.JKSTruststoreKey, cmapi.PKCS12SecretKey, cmapi.PKCS12TruststoreKey} {
		if store, ok := data[key]; ok {
			out[key] = store
		}
	}
	return out
}

// profiles are the algorithms of a PKCS #12 file by the names that the API gives them.
var profiles = map[cmapi.PKCS12Profile]*pkcs12.Encoder{
	"":                            pkcs12.LegacyRC2,
	cmapi.LegacyRC2PKCS12Profile:  pkcs12.LegacyRC2,
	cmapi.LegacyDESPKCS12Profile:  pkcs12.LegacyDES,
	cmapi.Modern2023PKCS12Profile: pkcs12.Modern2023,
	cmapi.Modern2026PKCS12Profile: pkcs12.Modern2026,
}

// PKCS12Profiles lists the names of the profiles that keystores can be made with, sorted. No name stands for LegacyRC2.
func PKCS12Profiles() []string {
	var out []string
	for name := range profiles {
		if name != "" {
			out = append(out, string(name))
		}
	}
	slices.Sort(out)
	return out
}

// PKCS12PasswordFlaw says why no PKCS #12 file can be locked with a password; empty if one can. Its characters are encoded as a BMPString
// (RFC 7292, appendix B.1), which has those of Unicode's Basic Multilingual Plane only.
func PKCS12PasswordFlaw(password string) string {
	if strings.ContainsFunc(password, func(r rune) bool { return r > 0xFFFF }) {
		return "has characters beyond U+FFFF, which PKCS #12 can't encode"
	}
	return ""
}

// keystoreParts are a key pair taken apart.
type keystoreParts struct {
	key       crypto.Signer
	chain, ca []*x509.Certificate
}

func parseParts(keyPEM, chainPEM, caPEM []byte) (p keystoreParts, err error) {
	if p.key, err = ParseKey(keyPEM); err != nil {
		return p, fmt.Errorf("the private key: %w", err)
	}
	if p.chain, err = ParseCertificates(chainPEM); err != nil {
		return p, fmt.Errorf("the certificate: %w", err)
	}
	if len(caPEM) > 0 {
		if p.ca, err = ParseCertificates(caPEM); err != nil {
			return p, fmt.Errorf("the CA's certificate: %w", err)
		}
	}
	return p, nil
}

// JKS returns a key pair as a Java keystore, and its CA, where there is one, as a Java truststore; both are locked with password.
// The key's entry is called alias; the CA's are ca, ca-1 and so on, in the keystore too. created is the entries' date.
func JKS(keyPEM, chainPEM, caPEM []byte, alias, password string, created time.Time) (store, trust []byte, err error) {
	parts, err := parseParts(keyPEM, chainPEM, caPEM)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(parts.key)
	if err != nil {
		return nil, nil, errors.New("encoding the private key failed") // the cause could quote it
	}
	entry := keystore.PrivateKeyEntry{CreationTime: created, PrivateKey: der}
	for _, c := range parts.chain {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X509", Content: c.Raw})
	}
	ks := newJKS()
	if err := ks.SetPrivateKeyEntry(alias, entry, []byte(password)); err != nil {
		return nil, nil, fmt.Errorf("adding the private key to the keystore: %w", err)
	}
	if store, err = storeJKS(ks, parts.ca, password, created); err != nil || len(parts.ca) == 0 {
		return store, nil, err
	}
	trust, err = storeJKS(newJKS(), parts.ca, password, created)
	return store, trust, err
}

func newJKS() keystore.KeyStore {
	return keystore.New(keystore.WithOrderedAliases(), keystore.WithCustomRandomNumberGenerator(rand.Reader))
}

// storeJKS adds trusted certificates to a keystore and encodes it.
func storeJKS(ks keystore.KeyStore, trusted []*x509.Certificate, password string, created time.Time) ([]byte, error) {
	for i, c := range trusted {
		alias := "ca"
		if i > 0 {
			alias = fmt.Sprintf("ca-%d", i)
		}
		entry := keystore.TrustedCertificateEntry{CreationTime: created, Certificate: keystore.Certificate{Type: "X509", Content: c.Raw}}
		if err := ks.SetTrustedCertificateEntry(alias, entry); err != nil {
			return nil, fmt.Errorf("adding a CA to the keystore: %w", err)
		}
	}
	var out bytes.Buffer
	if err := ks.Store(&out, []byte(password)); err != nil {
		return nil, fmt.Errorf("encoding the keystore: %w", err)
	}
	return out.Bytes(), nil
}

// PKCS12 returns a key pair as a PKCS #12 file, and its CA, where there is one, as a PKCS #12 truststore; both are locked with
// password. Intermediate certificates and the CA are in the keystore too.
func PKCS12(keyPEM, chainPEM, caPEM []byte, profile cmapi.PKCS12Profile, password string) (store, trust []byte, err error) {
	encoder := profiles[profile]
	if encoder == nil {
		return nil, nil, fmt.Errorf("there is no PKCS #12 profile %q", profile)
	}
	parts, err := parseParts(keyPEM, chainPEM, caPEM)
	if err != nil {
		return nil, nil, err
	}
	extra := append(append([]*x509.Certificate{}, parts.chain[1:]...), parts.ca...)
	if store, err = encoder.Encode(parts.key, parts.chain[0], extra, password); err != nil {
		return nil, nil, fmt.Errorf("encoding the PKCS #12 keystore: %w", err)
	}
	if len(parts.ca) == 0 {
		return store, nil, nil
	}
	if trust, err = encoder.EncodeTrustStore(parts.ca, password); err != nil {
		return nil, nil, fmt.Errorf("encoding the PKCS #12 truststore: %w", err)
	}
	return store, trust, nil
}
