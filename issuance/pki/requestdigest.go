package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// compared are the fields of a spec that are compared with a CSR, in the order of fieldHashes.
var compared = [...]string{
	"spec.ipAddresses", "spec.uris", "spec.emailAddresses", "spec.dnsNames", "spec.otherNames",
	"spec.commonName", "spec.subject.serialNumber", "spec.subject.organizations", "spec.subject.organizationalUnits",
	"spec.subject.countries", "spec.subject.localities", "spec.subject.provinces", "spec.subject.streetAddresses",
	"spec.subject.postalCodes", "spec.literalSubject",
}

// Indexes into compared that are looked at only where the spec has them, or in place of others.
const (
	fieldOtherNames     = 4
	fieldCommonName     = 5
	fieldLiteralSubject = len(compared) - 1
)

// fieldHashes are hashes of what each compared field says, lists as sets. Eight bytes tell edits apart; nothing is secured by them.
type fieldHashes [len(compared)][8]byte

// RequestDigest is what matching needs of a CSR. It takes the place of CSRs in the cache.
type RequestDigest struct {
	Key    KeyID
	fields fieldHashes
	err    string
}

// NewRequestDigest decodes a CSR, or a text that RequestDigest.Text made of one. A CSR that does not decode has an Err and fits
// nothing.
func NewRequestDigest(text []byte) RequestDigest {
	if bytes.HasPrefix(text, digestMark) {
		return parseRequestDigest(text)
	}
	csr, err := decodeRequest(text)
	if err != nil {
		return RequestDigest{err: err.Error()}
	}
	others, err := otherNamesOf(csr.Extensions)
	if err != nil {
		return RequestDigest{err: err.Error()}
	}
	return RequestDigest{Key: KeyIDOf(csr.PublicKey), fields: hashRequest(csr, others)}
}

// Err returns why the CSR could not be decoded.
func (d RequestDigest) Err() error {
	if d.err == "" {
		return nil
	}
	return errors.New(d.err)
}

// digestMark begins a digest's text. No PEM text has a zero byte.
var digestMark = []byte("\x00digest1")

// Text encodes a digest, such that NewRequestDigest reads it back.
func (d RequestDigest) Text() []byte {
	out := slices.Concat(digestMark, d.Key[:])
	for _, f := range d.fields {
		out = append(out, f[:]...)
	}
	return append(out, d.err...)
}

func parseRequestDigest(text []byte) (d RequestDigest) {
	rest := text[len(digestMark):]
	if len(rest) < len(d.Key)+8*len(d.fields) {
		return RequestDigest{err: "the digest of the request is cut off"}
	}
	rest = rest[copy(d.Key[:], rest):]
	for i := range d.fields {
		rest = rest[copy(d.fields[i][:], rest):]
	}
	d.err = string(rest)
	return d
}

func hashRequest(csr *x509.CertificateRequest, others []OtherName) fieldHashes {
	s := csr.Subject
	return hashFields(stringsOf(csr.IPAddresses), stringsOf(csr.URIs), csr.EmailAddresses, csr.DNSNames, stringsOf(others),
		[]string{s.CommonName}, []string{s.SerialNumber}, s.Organization, s.OrganizationalUnit, s.Country, s.Locality, s.Province,
		s.StreetAddress, s.PostalCode, []string{string(csr.RawSubject)})
}

func hashSpec(spec *cmapi.CertificateSpec) (fieldHashes, error) {
	names, err := ParseNames(spec)
	if err != nil {
		return fieldHashes{}, err
	}
	s, raw := SubjectOf(spec), ""
	if spec.LiteralSubject != "" {
		der, err := rawSubject(spec)
		if err != nil {
			return fieldHashes{}, err
		}
		raw = string(der)
	}
	return hashFields(stringsOf(names.IPs), stringsOf(names.URIs), names.Emails, names.DNS, stringsOf(names.Others),
		[]string{s.CommonName}, []string{s.SerialNumber}, s.Organization, s.OrganizationalUnit, s.Country, s.Locality, s.Province,
		s.StreetAddress, s.PostalCode, []string{raw}), nil
}

// hashFields hashes one list for each of compared.
func hashFields(lists ...[]string) (out fieldHashes) {
	for i, list := range lists {
		set := slices.Clone(list)
		slices.Sort(set)
		h := sha256.New()
		for _, s := range slices.Compact(set) {
			var length [4]byte
			binary.BigEndian.PutUint32(length[:], uint32(len(s)))
			h.Write(length[:])
			h.Write([]byte(s))
		}
		copy(out[i][:], h.Sum(nil))
	}
	return out
}

// Mismatches compares a CertificateRequest and its decoded CSR with the spec that it was, or would be, made for, and returns
// the spec's fields that differ: cert-manager's RequestChanged rule. Lists compare as sets. Not compared, and thus no reason
// to issue again: signature algorithm, encoding, name constraints, secretTemplate, output formats, renewBefore, a duration that
// only one has, and other names where the spec lists none.
func Mismatches(spec *cmapi.CertificateSpec, request *cmapi.CertificateRequestSpec, d RequestDigest) []string {
	if d.err != "" {
		return []string{"spec.request"}
	}
	want, err := hashSpec(spec)
	if err != nil {
		return []string{"spec"}
	}
	var out []string
	for i, field := range compared {
		if looksAt(spec, i) && want[i] != d.fields[i] {
			out = append(out, field)
		}
	}
	differ := func(field string, same bool) {
		if !same {
			out = append(out, field)
		}
	}
	differ("spec.isCA", spec.IsCA == request.IsCA)
	differ("spec.usages", SameSet(spec.Usages, request.Usages))
	differ("spec.duration", spec.Duration == nil || request.Duration == nil || spec.Duration.Duration == request.Duration.Duration)
	differ("spec.issuerRef", SameIssuer(spec.IssuerRef, request.IssuerRef))
	return out
}

// looksAt tells whether a field counts for a spec.
func looksAt(spec *cmapi.CertificateSpec, field int) bool {
	switch {
	case field == fieldOtherNames:
		return len(spec.OtherNames) > 0
	case field == fieldLiteralSubject:
		return spec.LiteralSubject != ""
	case field >= fieldCommonName:
		return spec.LiteralSubject == ""
	}
	return true
}

// rawSubject encodes the distinguished name that a spec asks for.
func rawSubject(spec *cmapi.CertificateSpec) ([]byte, error) {
	rdns, err := rdnsOf(spec)
	if err != nil {
		return nil, fmt.Errorf("spec.literalSubject: %w", err)
	}
	return marshalRDNs(rdns)
}
