package validation

import (
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// maxCommonName is the upper bound ub-common-name of RFC 5280.
const maxCommonName = 64

// subject checks the distinguished name and that the certificate has a name at all: a common name or an alternative name.
func (f *findings) subject(spec *cmapi.CertificateSpec) {
	if len(spec.CommonName) > maxCommonName {
		e := field.TooLong(f.at([]any{"commonName"}), "", maxCommonName)
		e.Detail += "; put long names into spec.dnsNames"
		f.add(e)
	}
	named := spec.CommonName != ""
	if spec.LiteralSubject != "" {
		named = f.literalSubject(spec)
	}
	if !named && len(spec.DNSNames)+len(spec.IPAddresses)+len(spec.URIs)+len(spec.EmailAddresses)+len(spec.OtherNames) == 0 {
		f.wrong("a certificate needs a name: set at least one of commonName (or a CN in literalSubject), dnsNames, ipAddresses, uris, emailAddresses or otherNames")
	}
}

// literalSubject checks a literal subject and tells whether it holds a common name. One that does not parse counts as having one:
// its own error is enough.
func (f *findings) literalSubject(spec *cmapi.CertificateSpec) bool {
	if spec.CommonName != "" {
		f.invalid(spec.CommonName, "must be empty where literalSubject is set: put it there as CN", "commonName")
	}
	if spec.Subject != nil && !reflect.ValueOf(*spec.Subject).IsZero() {
		f.wrong("must be empty where literalSubject is set", "subject")
	}
	rdns, err := pki.ParseLiteralSubject(spec.LiteralSubject)
	if err != nil {
		detail := quotable(err.Error())
		if value, unknown := unknownKey(spec.LiteralSubject); unknown {
			// A text that tests of the incumbent look for.
			detail = fmt.Sprintf("Literal subject contains unrecognized key with value [%s]: %s", quotable(value), detail)
		}
		f.invalid(spec.LiteralSubject, detail, "literalSubject")
		return true
	}
	var name pkix.Name
	name.FillFromRDNSequence(&rdns)
	if len(name.CommonName) > maxCommonName {
		f.invalid(spec.LiteralSubject, fmt.Sprintf("its CN may not be more than %d bytes", maxCommonName), "literalSubject")
	}
	return name.CommonName != ""
}

// unknownKey returns the value of the first attribute of a literal subject whose key is not known. It passes over quotes and escapes:
// it only helps to word an error that is certain.
func unknownKey(s string) (value string, found bool) {
	if len(s) > pki.MaxSubjectBytes {
		return "", false
	}
	for attribute := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(",;+", r) }) {
		key, value, ok := strings.Cut(attribute, "=")
		if !ok {
			continue
		}
		if _, err := pki.ParseLiteralSubject(strings.TrimSpace(key) + "=x"); err != nil {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// names checks every alternative name in the way in which pki reads it.
func (f *findings) names(spec *cmapi.CertificateSpec) {
	for i, s := range spec.DNSNames {
		f.ascii(s, "dnsNames", i)
	}
	for i, s := range spec.IPAddresses {
		if net.ParseIP(s) == nil {
			f.invalid(s, "is not an IP address", "ipAddresses", i)
		}
	}
	for i, s := range spec.URIs {
		if u, err := pki.ParseURI(s); err != nil {
			f.invalid(s, quotable(err.Error()), "uris", i)
		} else {
			f.ascii(u.String(), "uris", i)
		}
	}
	for i, s := range spec.EmailAddresses {
		if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
			f.invalid(s, "is not a bare e-mail address, such as user@example.com", "emailAddresses", i)
		} else {
			f.ascii(s, "emailAddresses", i)
		}
	}
	for i := range spec.OtherNames {
		f.otherName(&spec.OtherNames[i], i)
	}
}

// ascii refuses what an alternative name can't be encoded from (RFC 5280, 4.2.1.6: IA5String).
func (f *findings) ascii(s, list string, i int) {
	if s == "" {
		f.required("must not be empty", list, i)
	}
	for j := range len(s) {
		if s[j] >= utf8.RuneSelf {
			f.invalid(s, "is not ASCII: write it in its encoded form", list, i)
			return
		}
	}
}

func (f *findings) otherName(n *cmapi.OtherName, i int) {
	if _, err := pki.ParseOID(n.OID); err != nil {
		f.invalid(n.OID, "oid syntax invalid", "otherNames", i, "oid") // a text that tests of the incumbent look for
	}
	if n.UTF8Value == "" || !utf8.ValidString(n.UTF8Value) {
		f.required("must be set to a valid non-empty UTF8 string", "otherNames", i, "utf8Value") // another
	}
}

// nameConstraints checks what a CA is to be limited to.
func (f *findings) nameConstraints(spec *cmapi.CertificateSpec) {
	c := spec.NameConstraints
	if c == nil {
		return
	}
	before := len(f.list)
	if !spec.IsCA {
		f.forbidden("only a CA can have name constraints: set spec.isCA", "nameConstraints")
	}
	if c.Permitted == nil && c.Excluded == nil {
		f.required("must have permitted or excluded names", "nameConstraints")
	}
	f.ipRanges(c.Permitted, "permitted")
	f.ipRanges(c.Excluded, "excluded")
	if len(f.list) > before {
		return
	}
	if _, err := pki.ParseNameConstraints(c); err != nil {
		f.wrong(reasonOf(err), "nameConstraints")
	}
}

// reasonOf returns what pki says without the field that it says it of.
func reasonOf(err error) string {
	text := err.Error()
	if strings.HasPrefix(text, "spec.") {
		if _, reason, ok := strings.Cut(text, ": "); ok {
			return quotable(reason)
		}
	}
	return quotable(text)
}

func (f *findings) ipRanges(item *cmapi.NameConstraintItem, which string) {
	if item == nil {
		return
	}
	for i, s := range item.IPRanges {
		if _, _, err := net.ParseCIDR(s); err != nil {
			f.invalid(s, "is not a range of IP addresses, such as 10.0.0.0/8", "nameConstraints", which, "ipRanges", i)
		}
	}
}

// url checks an address that is to be called, or to be written into certificates.
func (f *findings) url(s string, steps ...any) {
	if s == "" {
		f.required("must be a URL", steps...)
	} else if _, err := url.Parse(s); err != nil {
		f.invalid(s, "must be a URL", steps...)
	}
}

// hostPort checks host or host:port; an IPv6 address stands in brackets.
func (f *findings) hostPort(s string, steps ...any) {
	withPort := s
	if _, _, err := net.SplitHostPort(s); err != nil {
		withPort = s + ":53"
	}
	host, port, err := net.SplitHostPort(withPort)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || net.ParseIP(host) == nil && !isHost(host) {
		f.invalid(s, "must be host or host:port, an IPv6 address in brackets", steps...)
	}
}

// isHost tells whether s has the letters of a host name.
func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return true
}
