package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// MaxRequestBytes is the largest certificate signing request, in PEM, that is parsed.
const MaxRequestBytes = 64 << 10

var (
	oidKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSAN         = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasic       = asn1.ObjectIdentifier{2, 5, 29, 19}

	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// Names are the identities of a Certificate, parsed.
type Names struct {
	DNS    []string
	IPs    []net.IP
	URIs   []*url.URL
	Emails []string
	Others []OtherName
}

// ParseNames reads the identities of a spec. An error names the field and the entry at fault.
func ParseNames(spec *cmapi.CertificateSpec) (Names, error) {
	n := Names{DNS: spec.DNSNames}
	for i, s := range spec.IPAddresses {
		ip := net.ParseIP(s)
		if ip == nil {
			return Names{}, fmt.Errorf("spec.ipAddresses[%d]: %q is not an IP address", i, s)
		}
		n.IPs = append(n.IPs, ip)
	}
	for i, s := range spec.URIs {
		u, err := ParseURI(s)
		if err != nil {
			return Names{}, fmt.Errorf("spec.uris[%d]: %w", i, err)
		}
		n.URIs = append(n.URIs, u)
	}
	for i, s := range spec.EmailAddresses {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s {
			return Names{}, fmt.Errorf("spec.emailAddresses[%d]: %q is not a bare e-mail address", i, s)
		}
		n.Emails = append(n.Emails, s)
	}
	var err error
	n.Others, err = ParseOtherNames(spec.OtherNames)
	return n, err
}

// ParseURI reads a URI as a subject alternative name. Package x509 writes more than it reads: a host with a character beyond
// printable ASCII, an empty label or a dot at its end makes the whole certificate unreadable, so it is refused here.
func ParseURI(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("is not a URI: %w", err)
	}
	again, err := url.Parse(u.String())
	if err != nil {
		return nil, fmt.Errorf("is not a URI once it is escaped: %w", err)
	}
	for _, label := range strings.Split(again.Host, ".") {
		if label == "" && again.Host != "" || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("has the host %q, which no certificate can hold: only printable ASCII, no empty label and no dot at the end", again.Host)
		}
	}
	return u, nil
}

var signatureAlgorithms = map[cmapi.SignatureAlgorithm]x509.SignatureAlgorithm{
	"":                    x509.UnknownSignatureAlgorithm, // signatureFor chooses by the key
	cmapi.SHA256WithRSA:   x509.SHA256WithRSA,
	cmapi.SHA384WithRSA:   x509.SHA384WithRSA,
	cmapi.SHA512WithRSA:   x509.SHA512WithRSA,
	cmapi.ECDSAWithSHA256: x509.ECDSAWithSHA256,
	cmapi.ECDSAWithSHA384: x509.ECDSAWithSHA384,
	cmapi.ECDSAWithSHA512: x509.ECDSAWithSHA512,
	cmapi.PureEd25519:     x509.PureEd25519,
}

// signatureFor is cert-manager's choice (since 1.17) for a key whose owner asks for no algorithm: a long RSA key signs a long digest. For
// others x509 chooses, by the curve.
func signatureFor(pub crypto.PublicKey) x509.SignatureAlgorithm {
	key, ok := pub.(*rsa.PublicKey)
	switch {
	case ok && key.N.BitLen() > 4088:
		return x509.SHA512WithRSA
	case ok && key.N.BitLen() > 3064:
		return x509.SHA384WithRSA
	}
	return x509.UnknownSignatureAlgorithm
}

// NewRequest returns a PEM certificate signing request (PKCS #10) for a spec, signed with key. The key usage extension is
// critical, the extended one is not, and the SAN extension is critical only when the subject is empty (RFC 5280, 4.2.1.6).
func NewRequest(spec *cmapi.CertificateSpec, key crypto.Signer) ([]byte, error) {
	names, err := ParseNames(spec)
	if err != nil {
		return nil, err
	}
	algorithm, ok := signatureAlgorithms[spec.SignatureAlgorithm]
	if !ok {
		return nil, fmt.Errorf("spec.signatureAlgorithm: unknown algorithm %q", spec.SignatureAlgorithm)
	}
	subject, err := rawSubject(spec)
	if err != nil {
		return nil, err
	}
	if algorithm == x509.UnknownSignatureAlgorithm {
		algorithm = signatureFor(key.Public())
	}
	template := &x509.CertificateRequest{SignatureAlgorithm: algorithm, RawSubject: subject}
	if spec.EncodeUsagesInRequest == nil || *spec.EncodeUsagesInRequest {
		usages, err := ParseUsages(spec.Usages, spec.IsCA)
		if err != nil {
			return nil, fmt.Errorf("spec.usages: %w", err)
		}
		if template.ExtraExtensions, err = usages.extensions(); err != nil {
			return nil, err
		}
	}
	sans, err := marshalSANs(names)
	if err != nil {
		return nil, err
	}
	if sans != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSAN, Critical: bytes.Equal(subject, emptySubject), Value: sans})
	}
	constraints, err := ParseNameConstraints(spec.NameConstraints)
	if err != nil {
		return nil, err
	}
	if constraints != nil {
		extension, err := constraints.extension()
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, extension)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate request: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	// x509 writes some names, such as URIs with an odd host, that it does not read: nobody could sign those.
	if _, err := decodeRequest(text); err != nil {
		return nil, err
	}
	return text, nil
}

// emptySubject is a distinguished name without any part.
var emptySubject = []byte{0x30, 0x00}

func marshalRDNs(rdns pkix.RDNSequence) ([]byte, error) {
	der, err := asn1.Marshal(rdns)
	if err != nil {
		return nil, fmt.Errorf("encoding the subject: %w", err)
	}
	return der, nil
}

// otherNamesOf returns the other names among the subject alternative names of a CSR or a certificate.
func otherNamesOf(extensions []pkix.Extension) ([]OtherName, error) {
	for _, e := range extensions {
		if e.Id.Equal(oidSAN) {
			return parseOtherNames(e.Value)
		}
	}
	return nil, nil
}

func (u Usages) extensions() ([]pkix.Extension, error) {
	var out []pkix.Extension
	if u.Key != 0 {
		der, err := keyUsageBits(u.Key)
		if err != nil {
			return nil, fmt.Errorf("encoding key usages: %w", err)
		}
		out = append(out, pkix.Extension{Id: oidKeyUsage, Critical: true, Value: der})
	}
	if len(u.oid) > 0 {
		der, err := asn1.Marshal(u.oid)
		if err != nil {
			return nil, fmt.Errorf("encoding extended key usages: %w", err)
		}
		out = append(out, pkix.Extension{Id: oidExtKeyUsage, Value: der})
	}
	return out, nil
}

// ParseRequest reads a PEM certificate signing request and verifies that it is signed with the key that it carries.
func ParseRequest(text []byte) (*x509.CertificateRequest, error) {
	csr, err := decodeRequest(text)
	if err != nil {
		return nil, err
	}
	// Who asks chooses the key, and a signature of a huge one takes seconds to verify.
	if key, ok := csr.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return nil, fmt.Errorf("the request's RSA key has %d bits, more than the %d allowed", key.N.BitLen(), maxRSABits)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request's signature does not fit its key: %w", err)
	}
	return csr, nil
}

// decodeRequest is ParseRequest without the signature check.
func decodeRequest(text []byte) (*x509.CertificateRequest, error) {
	if len(text) > MaxRequestBytes {
		return nil, fmt.Errorf("the request has %d bytes, more than the %d allowed", len(text), MaxRequestBytes)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" { // as keytool calls it
		return nil, errors.New("no PEM block of type CERTIFICATE REQUEST found")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("there is data behind the CERTIFICATE REQUEST block")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing the certificate request: %w", err)
	}
	return csr, nil
}

func stringsOf[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

// SameSet compares two lists without regard to order or repetition.
func SameSet[T ~string](a, b []T) bool {
	if slices.Equal(a, b) {
		return true
	}
	distinct := func(list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }
	return slices.Equal(distinct(a), distinct(b))
}
