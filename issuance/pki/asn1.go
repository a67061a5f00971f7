package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// Tags of a GeneralName (RFC 5280, 4.2.1.6).
const (
	tagOther = 0
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

// marshalSANs encodes names as the subjectAltName extension, nil for none. x509 could, but never makes it critical.
func marshalSANs(n Names) ([]byte, error) {
	var out []asn1.RawValue
	var bad error
	add := func(tag int, field string, list []string) {
		for i, name := range list {
			if !isASCII(name) && bad == nil {
				bad = fmt.Errorf("spec.%s[%d]: %q is not ASCII: write it in its encoded form", field, i, name)
			}
			out = append(out, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(name)})
		}
	}
	add(tagDNS, "dnsNames", n.DNS)
	add(tagEmail, "emailAddresses", n.Emails)
	for _, ip := range n.IPs {
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		out = append(out, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagIP, Bytes: ip})
	}
	add(tagURI, "uris", stringsOf(n.URIs))
	for _, other := range n.Others {
		raw, err := other.generalName()
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	if bad != nil || len(out) == 0 {
		return nil, bad
	}
	return asn1.Marshal(out)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 127 {
			return false
		}
	}
	return true
}

// parseOIDs reads a SEQUENCE OF OBJECT IDENTIFIER: the extended key usage extension.
func parseOIDs(der []byte) ([]string, error) {
	var oids []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(der, &oids); err != nil || len(rest) != 0 {
		return nil, errors.New("the CSR's extended key usage extension is malformed")
	}
	return stringsOf(oids), nil
}

// parseIsCA reads the CA flag of a basic constraints extension.
func parseIsCA(der []byte) (bool, error) {
	var constraints struct {
		IsCA       bool `asn1:"optional"`
		MaxPathLen int  `asn1:"optional,default:-1"`
	}
	if rest, err := asn1.Unmarshal(der, &constraints); err != nil || len(rest) != 0 {
		return false, errors.New("the CSR's basic constraints extension is malformed")
	}
	return constraints.IsCA, nil
}
