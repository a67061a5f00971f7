package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// MaxSubjectBytes is the longest spec.literalSubject that is parsed.
const MaxSubjectBytes = 4 << 10

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// attributeTypes are the short names that a literal subject may use (RFC 4514, section 3, and SERIALNUMBER).
var attributeTypes = map[string]asn1.ObjectIdentifier{
	"C": {2, 5, 4, 6}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "CN": oidCommonName, "SERIALNUMBER": {2, 5, 4, 5},
	"L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8}, "STREET": {2, 5, 4, 9},
	"DC": {0, 9, 2342, 19200300, 100, 1, 25}, "UID": {0, 9, 2342, 19200300, 100, 1, 1},
}

// SubjectOf returns the distinguished name that a spec asks for, spec.literalSubject apart.
func SubjectOf(spec *cmapi.CertificateSpec) pkix.Name {
	name := pkix.Name{CommonName: spec.CommonName}
	if s := spec.Subject; s != nil {
		name.Organization, name.OrganizationalUnit = s.Organizations, s.OrganizationalUnits
		name.Country, name.Province, name.Locality = s.Countries, s.Provinces, s.Localities
		name.StreetAddress, name.PostalCode, name.SerialNumber = s.StreetAddresses, s.PostalCodes, s.SerialNumber
	}
	return name
}

// rdnsOf returns the distinguished name that a spec asks for, literal or not.
func rdnsOf(spec *cmapi.CertificateSpec) (pkix.RDNSequence, error) {
	if spec.LiteralSubject != "" {
		return ParseLiteralSubject(spec.LiteralSubject)
	}
	return SubjectOf(spec).ToRDNSequence(), nil
}

// CommonNameOf returns the common name that a spec asks for, literal or not; empty if it asks for none that can be read.
func CommonNameOf(spec *cmapi.CertificateSpec) string {
	if spec.LiteralSubject == "" {
		return spec.CommonName
	}
	rdns, err := ParseLiteralSubject(spec.LiteralSubject)
	if err != nil {
		return ""
	}
	return commonName(rdns)
}

// commonName returns the last common name of a distinguished name, as x509 does.
func commonName(rdns pkix.RDNSequence) string {
	var name pkix.Name
	name.FillFromRDNSequence(&rdns)
	return name.CommonName
}

// ParseLiteralSubject reads a distinguished name written as LDAP does (RFC 4514) and returns it in the order of its DER form, which
// is the reverse: LDAP writes the most specific part first.
func ParseLiteralSubject(s string) (pkix.RDNSequence, error) {
	switch {
	case len(s) > MaxSubjectBytes:
		return nil, fmt.Errorf("%d bytes are more than the %d allowed", len(s), MaxSubjectBytes)
	case !utf8.ValidString(s):
		return nil, errors.New("it is not UTF-8")
	case strings.TrimSpace(s) == "":
		return nil, errors.New("it is empty")
	}
	var rdns pkix.RDNSequence
	for _, rdn := range splitUnescaped(s, ",;") {
		var set pkix.RelativeDistinguishedNameSET
		for _, attribute := range splitUnescaped(rdn, "+") {
			a, err := parseAttribute(attribute)
			if err != nil {
				return nil, err
			}
			set = append(set, a)
		}
		rdns = append(rdns, set)
	}
	slices.Reverse(rdns)
	return rdns, nil
}

// splitUnescaped cuts s at every separator that is neither escaped by a backslash nor within quotes.
func splitUnescaped(s, separators string) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(separators, s[i]) >= 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func parseAttribute(s string) (a pkix.AttributeTypeAndValue, err error) {
	key, value, ok := strings.Cut(s, "=")
	key = strings.TrimSpace(key)
	if !ok || key == "" {
		return a, fmt.Errorf("%q is not of the form KEY=value", s)
	}
	if oid, known := attributeTypes[strings.ToUpper(key)]; known {
		a.Type = oid
	} else if a.Type, err = ParseOID(key); err != nil {
		return a, fmt.Errorf("%q is neither a known attribute nor a dotted object identifier: use C, O, OU, CN, SERIALNUMBER, L, ST, STREET, DC, UID or the identifier", key)
	}
	text, err := unescape(value)
	if err != nil {
		return a, fmt.Errorf("the value of %s: %w", key, err)
	}
	if text == "" {
		return a, fmt.Errorf("the value of %s is empty", key)
	}
	a.Value = text
	return a, nil
}

// unescape reads an attribute's value: backslash escapes of one character or of bytes in hexadecimal, and quotes around the whole
// (RFC 4514, section 2.4; quotes as RFC 2253, section 4). White space around it does not count unless it is escaped.
func unescape(s string) (string, error) {
	s = strings.TrimLeft(s, " ")
	if strings.HasPrefix(s, "#") {
		return "", errors.New("values in hexadecimal BER (#...) are not supported: write the text")
	}
	quoted := strings.HasPrefix(s, `"`)
	if quoted {
		s = strings.TrimRight(s, " ")
		if len(s) < 2 || s[len(s)-1] != '"' {
			return "", errors.New("the quotes are not closed")
		}
		s = s[1 : len(s)-1]
	}
	var out []byte
	kept := 0 // bytes of out that trimming may not take
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", errors.New(`a quote inside needs a backslash`)
		case s[i] != '\\':
			out = append(out, s[i])
			continue
		case i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b, _ := hex.DecodeString(s[i+1 : i+3]) // two hexadecimal digits always decode
			out = append(out, b[0])
			i += 2
		case i+1 < len(s) && strings.IndexByte(`"+,;<=> #\`, s[i+1]) >= 0:
			out = append(out, s[i+1])
			i++
		default:
			return "", errors.New("a backslash has to be followed by a special character or two hexadecimal digits")
		}
		kept = len(out)
	}
	if !quoted {
		out = append(out[:kept], strings.TrimRight(string(out[kept:]), " ")...)
	}
	if !utf8.Valid(out) {
		return "", errors.New("it is not UTF-8")
	}
	return string(out), nil
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}

// ParseOID reads a dotted object identifier.
func ParseOID(s string) (asn1.ObjectIdentifier, error) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 64 {
		return nil, fmt.Errorf("%q is not a dotted object identifier", s)
	}
	oid := make(asn1.ObjectIdentifier, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is not a dotted object identifier", s)
		}
		oid[i] = int(n)
	}
	if oid[0] > 2 || oid[0] < 2 && oid[1] > 39 { // X.660
		return nil, fmt.Errorf("%q is not an object identifier: it starts with 0, 1 or 2, and after 0 or 1 comes less than 40", s)
	}
	return oid, nil
}
