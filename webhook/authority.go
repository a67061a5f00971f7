package webhook

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

const (
	// SecretName is the Secret of the CA, in the daemon's own namespace.
	SecretName = "trustglass-webhook-ca"

	caCommonName   = "cert-manager-webhook-ca" // as cert-manager calls every CA of its servers
	leafCommonName = "trustglass"

	// Keys of the staged CA, beside tls.crt, tls.key and ca.crt. ca.crt holds every CA that is to be trusted.
	keyNextCert = "next.crt"
	keyNextKey  = "next.key"

	// annNextHeld says since when every configuration trusts the staged CA.
	annNextHeld = "trustglass.io/next-ca-trusted-since"

	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "trustglass"

	// backdate is how long before its making a certificate is valid, for API servers whose clocks are behind.
	backdate = time.Hour
)

// authority is the CA as its Secret has it.
type authority struct {
	version string
	uid     types.UID
	kind    corev1.SecretType // which can't be changed
	foreign bool              // a Secret of that name that is not ours
	current *pki.KeyPair
	next    *pki.KeyPair
	held    time.Time           // since when every configuration has been seen to trust next; zero: not yet
	retired []*x509.Certificate // trusted, and not signing any more
}

// parseAuthority reads the Secret. Parts that are missing or damaged are nil: decide says what becomes of them.
func parseAuthority(s *corev1.Secret) *authority {
	a := &authority{version: s.ResourceVersion, uid: s.UID, kind: s.Type, foreign: s.Labels[labelManagedBy] != managedBy}
	a.current = parseCA(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if a.next = parseCA(s.Data[keyNextCert], s.Data[keyNextKey]); a.next != nil {
		if held, err := time.Parse(time.RFC3339, s.Annotations[annNextHeld]); err == nil {
			a.held = held
		}
	}
	for _, c := range ownCAs(s.Data[corev1.ServiceAccountRootCAKey]) {
		if !a.signs(c) {
			a.retired = append(a.retired, c)
		}
	}
	return a
}

// adopt makes a CA that the incumbent made for one of its servers ours, where a setting names its Secret.
func (a *authority) adopt() {
	if a.current != nil && a.current.Certs[0].Subject.CommonName == caCommonName {
		a.foreign = false
	}
}

func parseCA(cert, key []byte) *pki.KeyPair {
	pair, err := pki.ParseKeyPair(cert, key)
	if err != nil || !pair.Certs[0].IsCA {
		return nil
	}
	return &pair
}

func (a *authority) signs(c *x509.Certificate) bool {
	return slices.ContainsFunc(a.signers(), c.Equal)
}

// trusted returns every CA whose leaves may be served, the one that lasts longest first: the order does not change when the next CA
// becomes the current one.
func (a *authority) trusted(now time.Time) []*x509.Certificate {
	return newestFirst(append(a.signers(), a.retired...), now)
}

// signers returns the CAs whose keys there are.
func (a *authority) signers() []*x509.Certificate {
	var out []*x509.Certificate
	for _, pair := range []*pki.KeyPair{a.current, a.next} {
		if pair != nil {
			out = append(out, pair.Certs[0])
		}
	}
	return out
}

// newestFirst drops what has expired or is there twice.
func newestFirst(certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range certs {
		if now.Before(c.NotAfter) && !slices.ContainsFunc(out, c.Equal) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotAfter.Compare(a.NotAfter), slices.Compare(a.Raw, b.Raw))
	})
	return out
}

// secret returns the Secret called key that holds a.
func (a *authority) secret(key types.NamespacedName, now time.Time) (*corev1.Secret, error) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, ResourceVersion: a.version, UID: a.uid,
			Labels:      map[string]string{labelManagedBy: managedBy},
			Annotations: map[string]string{cmapi.AllowsInjectionFromSecretAnnotation: "true"},
		},
		Type: cmp.Or(a.kind, corev1.SecretTypeTLS),
		Data: map[string][]byte{corev1.ServiceAccountRootCAKey: pki.EncodeCertificates(a.trusted(now)...)},
	}
	if !a.held.IsZero() {
		s.Annotations[annNextHeld] = a.held.UTC().Format(time.RFC3339)
	}
	for _, e := range []struct {
		pair      *pki.KeyPair
		cert, key string
	}{{a.current, corev1.TLSCertKey, corev1.TLSPrivateKeyKey}, {a.next, keyNextCert, keyNextKey}} {
		if e.pair == nil {
			continue
		}
		key, err := pki.EncodeKey(e.pair.Key, cmapi.PKCS8)
		if err != nil {
			return nil, err
		}
		s.Data[e.cert], s.Data[e.key] = pki.EncodeCertificates(e.pair.Certs[0]), key
	}
	return s, nil
}

// newCA makes a CA that signs certificates of servers and of nothing else.
func newCA(now time.Time, lifetime time.Duration) (*pki.KeyPair, error) {
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		return nil, fmt.Errorf("making the serving CA's key: %w", err)
	}
	template, err := newTemplate(caCommonName, now, now.Add(lifetime))
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} // holds for all that it signs
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the serving CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the serving CA: %w", err)
	}
	return &pki.KeyPair{Certs: []*x509.Certificate{cert}, Key: key}, nil
}

// newLeaf makes the certificate of a server that is called by names. It does not outlive the CA.
func newLeaf(ca *pki.KeyPair, names []string, now time.Time, lifetime time.Duration) (*tls.Certificate, error) {
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	end := now.Add(lifetime)
	if last := ca.Certs[0].NotAfter; end.After(last) {
		end = last
	}
	template, err := newTemplate(leafCommonName, now, end)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certs[0], key.Public(), ca.Key)
	if err != nil {
		return nil, fmt.Errorf("signing the server's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the server's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func newTemplate(name string, now, end time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate).UTC(), NotAfter: end.UTC()}, nil
}
