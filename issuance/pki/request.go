package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
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
		u, err := url.Parse(s)
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
	return n, nil
}

// SubjectOf returns the distinguished name that a spec asks for.
func SubjectOf(spec *cmapi.CertificateSpec) pkix.Name {
	name := pkix.Name{CommonName: spec.CommonName}
	if s := spec.Subject; s != nil {
		name.Organization, name.OrganizationalUnit = s.Organizations, s.OrganizationalUnits
		name.Country, name.Province, name.Locality = s.Countries, s.Provinces, s.Localities
		name.StreetAddress, name.PostalCode, name.SerialNumber = s.StreetAddresses, s.PostalCodes, s.SerialNumber
	}
	return name
}

var signatureAlgorithms = map[cmapi.SignatureAlgorithm]x509.SignatureAlgorithm{
	"":                    x509.UnknownSignatureAlgorithm, // x509 chooses by the key
	cmapi.SHA256WithRSA:   x509.SHA256WithRSA,
	cmapi.SHA384WithRSA:   x509.SHA384WithRSA,
	cmapi.SHA512WithRSA:   x509.SHA512WithRSA,
	cmapi.ECDSAWithSHA256: x509.ECDSAWithSHA256,
	cmapi.ECDSAWithSHA384: x509.ECDSAWithSHA384,
	cmapi.ECDSAWithSHA512: x509.ECDSAWithSHA512,
	cmapi.PureEd25519:     x509.PureEd25519,
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
	template := &x509.CertificateRequest{SignatureAlgorithm: algorithm, Subject: SubjectOf(spec)}
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
		critical := len(template.Subject.ToRDNSequence()) == 0
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSAN, Critical: critical, Value: sans})
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
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
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

// RequestDigest is a decoded CSR, as far as matching needs it.
type RequestDigest struct {
	Key KeyID
	csr *x509.CertificateRequest
	err error
}

// NewRequestDigest decodes a CSR. A CSR that does not decode has an Err and fits nothing.
func NewRequestDigest(text []byte) RequestDigest {
	csr, err := decodeRequest(text)
	if err != nil {
		return RequestDigest{err: err}
	}
	return RequestDigest{Key: KeyIDOf(csr.PublicKey), csr: csr}
}

// Err returns why the CSR could not be decoded.
func (d RequestDigest) Err() error { return d.err }

// Mismatches compares a CertificateRequest and its decoded CSR with the spec that it was, or would be, made for, and returns
// the spec's fields that differ: cert-manager's RequestChanged rule. Lists compare as sets. Not compared, and thus no reason
// to issue again: signature algorithm, encoding, secretTemplate, output formats, renewBefore, a duration that only one has.
func Mismatches(spec *cmapi.CertificateSpec, request *cmapi.CertificateRequestSpec, d RequestDigest) []string {
	if d.err != nil {
		return []string{"spec.request"}
	}
	var out []string
	differ := func(field string, same bool) {
		if !same {
			out = append(out, field)
		}
	}
	names, err := ParseNames(spec)
	if err != nil {
		return []string{"spec"}
	}
	differ("spec.ipAddresses", sameSet(stringsOf(names.IPs), stringsOf(d.csr.IPAddresses)))
	differ("spec.uris", sameSet(stringsOf(names.URIs), stringsOf(d.csr.URIs)))
	differ("spec.emailAddresses", sameSet(names.Emails, d.csr.EmailAddresses))
	differ("spec.dnsNames", sameSet(names.DNS, d.csr.DNSNames))
	want, have := SubjectOf(spec), d.csr.Subject
	differ("spec.commonName", want.CommonName == have.CommonName)
	differ("spec.subject.serialNumber", want.SerialNumber == have.SerialNumber)
	differ("spec.subject.organizations", sameSet(want.Organization, have.Organization))
	differ("spec.subject.organizationalUnits", sameSet(want.OrganizationalUnit, have.OrganizationalUnit))
	differ("spec.subject.countries", sameSet(want.Country, have.Country))
	differ("spec.subject.localities", sameSet(want.Locality, have.Locality))
	differ("spec.subject.provinces", sameSet(want.Province, have.Province))
	differ("spec.subject.streetAddresses", sameSet(want.StreetAddress, have.StreetAddress))
	differ("spec.subject.postalCodes", sameSet(want.PostalCode, have.PostalCode))
	differ("spec.isCA", spec.IsCA == request.IsCA)
	differ("spec.usages", sameSet(spec.Usages, request.Usages))
	differ("spec.duration", spec.Duration == nil || request.Duration == nil || spec.Duration.Duration == request.Duration.Duration)
	differ("spec.issuerRef", SameIssuer(spec.IssuerRef, request.IssuerRef))
	return out
}

func stringsOf[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

// sameSet compares two lists without regard to order or repetition.
func sameSet[T ~string](a, b []T) bool {
	if slices.Equal(a, b) {
		return true
	}
	return subset(a, b) && subset(b, a)
}

func subset[T ~string](a, b []T) bool {
	for _, v := range a {
		if !slices.Contains(b, v) {
			return false
		}
	}
	return true
}
