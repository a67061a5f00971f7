package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// Flaw says what keeps a Secret's data from being a usable key pair.
type Flaw int

// The flaws, in the order in which they are looked for.
const (
	Sound Flaw = iota
	NoData
	NoKey
	NoCert
	BadKey
	BadCert
	KeyMismatch
)

// Digest is what may be remembered of a TLS Secret's data: public facts and hashes, never a key's bytes.
type Digest struct {
	Flaw   Flaw
	Detail string // of BadKey, BadCert and KeyMismatch; quotes nothing of the data

	Key       KeyID
	KeySpec   KeySpec
	Leaf      [sha256.Size]byte // of the leaf's DER
	Names     [sha256.Size]byte // see NamesOf
	NotBefore time.Time
	NotAfter  time.Time

	// DER and Combined tell whether key.der and tls-combined.pem are there; Current, whether those that are there fit.
	DER, Combined, FormatsCurrent bool
	// HasCA tells whether ca.crt is there, and Keystores, which keystores are.
	HasCA     bool
	Keystores KeystoreSet
	// Temporary marks a stand-in that is to be replaced once the issuer has signed.
	Temporary bool
}

// NewDigest reads a Secret's data.
func NewDigest(data map[string][]byte) Digest {
	keyPEM, certPEM := data["tls.key"], data["tls.crt"]
	switch {
	case len(data) == 0:
		return Digest{Flaw: NoData}
	case len(keyPEM) == 0:
		return Digest{Flaw: NoKey}
	}
	d := Digest{}
	key, err := ParseKey(keyPEM)
	if err == nil { // also without a certificate: a temporary Secret has only a key
		d.Key, d.KeySpec = KeyIDOf(key.Public()), SpecOfKey(key.Public())
	}
	switch {
	case len(certPEM) == 0:
		d.Flaw = NoCert
		return d
	case err != nil:
		return Digest{Flaw: BadKey, Detail: err.Error()}
	}
	certs, err := ParseCertificates(certPEM)
	if err != nil {
		d.Flaw, d.Detail = BadCert, err.Error()
		return d
	}
	leaf := certs[0]
	d.Leaf, d.Names = sha256.Sum256(leaf.Raw), certNames(leaf)
	d.NotBefore, d.NotAfter = leaf.NotBefore, leaf.NotAfter
	if KeyIDOf(leaf.PublicKey) != d.Key {
		d.Flaw, d.Detail = KeyMismatch, "tls.key is not the key of the certificate in tls.crt"
		return d
	}
	d.Temporary = isTemporary(leaf)
	d.HasCA = len(data[cmmeta.TLSCAKey]) > 0
	d.Keystores = foundKeystores(data)
	d.readFormats(data)
	return d
}

func (d *Digest) readFormats(data map[string][]byte) {
	want := OutputFormats(data["tls.key"], data["tls.crt"])
	_, d.DER = data[cmapi.CertificateOutputFormatDERKey]
	_, d.Combined = data[cmapi.CertificateOutputFormatCombinedPEMKey]
	d.FormatsCurrent = true
	for key, value := range want {
		if have, ok := data[key]; ok && !bytes.Equal(have, value) {
			d.FormatsCurrent = false
		}
	}
}

// OutputFormats returns the additional forms of a key pair by their Secret keys: the private key in DER, and key and chain in
// one PEM text.
func OutputFormats(keyPEM, certPEM []byte) map[string][]byte {
	out := map[string][]byte{
		cmapi.CertificateOutputFormatCombinedPEMKey: bytes.Join([][]byte{keyPEM, certPEM}, []byte("\n")),
	}
	if block, _ := pem.Decode(keyPEM); block != nil {
		out[cmapi.CertificateOutputFormatDERKey] = block.Bytes
	}
	return out
}

// NamesOf hashes the identities that a spec asks for, such that a certificate with the same identities has the same hash
// wherever it keeps its common name: in the subject, among the DNS names or in both.
func NamesOf(spec *cmapi.CertificateSpec) ([sha256.Size]byte, error) {
	n, err := ParseNames(spec)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return hashNames(CommonNameOf(spec), n.DNS, stringsOf(n.IPs), stringsOf(n.URIs), n.Emails), nil
}

func certNames(c *x509.Certificate) [sha256.Size]byte {
	return hashNames(c.Subject.CommonName, c.DNSNames, stringsOf(c.IPAddresses), stringsOf(c.URIs), c.EmailAddresses)
}

func hashNames(commonName string, dns, ips, uris, emails []string) [sha256.Size]byte {
	names := slices.Clone(dns)
	if commonName != "" && !slices.Contains(ips, commonName) {
		names = append(names, commonName)
	}
	var all strings.Builder
	for _, list := range [][]string{names, ips, uris, emails} {
		sorted := slices.Clone(list)
		slices.Sort(sorted)
		for _, name := range slices.Compact(sorted) {
			all.WriteString(name)
			all.WriteByte(0)
		}
		all.WriteByte(1)
	}
	return sha256.Sum256([]byte(all.String()))
}

// LeafOf returns the hash of the first certificate of a PEM text, as Digest.Leaf; false when there is none.
func LeafOf(chain []byte) ([sha256.Size]byte, bool) {
	certs, err := ParseCertificates(chain)
	if err != nil {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256(certs[0].Raw), true
}

// LeafKey returns the identity of the key that the first certificate of a PEM text certifies, and the certificate's end.
func LeafKey(chain []byte) (KeyID, time.Time, error) {
	certs, err := ParseCertificates(chain)
	if err != nil {
		return KeyID{}, time.Time{}, err
	}
	return KeyIDOf(certs[0].PublicKey), certs[0].NotAfter, nil
}
