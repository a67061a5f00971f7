package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// NameConstraints limit the names that a CA may certify (RFC 5280, 4.2.1.10).
type NameConstraints struct {
	Critical            bool
	Permitted, Excluded Subtrees
}

// Subtrees are parts of the name space. A DNS domain includes its subdomains.
type Subtrees struct {
	DNS    []string
	IPs    []*net.IPNet
	Emails []string
	URIs   []string
}

func (s Subtrees) empty() bool { return len(s.DNS)+len(s.IPs)+len(s.Emails)+len(s.URIs) == 0 }

// ParseNameConstraints reads spec.nameConstraints; nil stays nil. An error names the field and the entry at fault.
func ParseNameConstraints(c *cmapi.NameConstraints) (*NameConstraints, error) {
	if c == nil {
		return nil, nil
	}
	out := &NameConstraints{Critical: c.Critical}
	var err error
	if out.Permitted, err = parseSubtrees("permitted", c.Permitted); err != nil {
		return nil, err
	}
	if out.Excluded, err = parseSubtrees("excluded", c.Excluded); err != nil {
		return nil, err
	}
	if out.Permitted.empty() && out.Excluded.empty() {
		return nil, errors.New("spec.nameConstraints: say what is permitted or what is excluded")
	}
	return out, nil
}

func parseSubtrees(field string, item *cmapi.NameConstraintItem) (s Subtrees, err error) {
	if item == nil {
		return s, nil
	}
	for i, text := range item.IPRanges {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return s, fmt.Errorf("spec.nameConstraints.%s.ipRanges[%d]: %q is not an address range such as 10.0.0.0/8", field, i, text)
		}
		s.IPs = append(s.IPs, network)
	}
	s.DNS, s.Emails, s.URIs = item.DNSDomains, item.EmailAddresses, item.URIDomains
	for name, list := range map[string][]string{"dnsDomains": s.DNS, "emailAddresses": s.Emails, "uriDomains": s.URIs} {
		for i, text := range list {
			if text == "" || !isASCII(text) {
				return s, fmt.Errorf("spec.nameConstraints.%s.%s[%d]: %q is empty or not ASCII", field, name, i, text)
			}
		}
	}
	return s, nil
}

// subtree is RFC 5280's GeneralSubtree with its minimum and maximum left at their only allowed values.
type subtree struct {
	Base asn1.RawValue
}

// extension encodes the constraints.
func (c *NameConstraints) extension() (pkix.Extension, error) {
	var value struct {
		Permitted []subtree `asn1:"optional,tag:0"`
		Excluded  []subtree `asn1:"optional,tag:1"`
	}
	value.Permitted, value.Excluded = c.Permitted.encode(), c.Excluded.encode()
	der, err := asn1.Marshal(value)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encoding spec.nameConstraints: %w", err)
	}
	return pkix.Extension{Id: oidNameConstraints, Critical: c.Critical, Value: der}, nil
}

func (s Subtrees) encode() []subtree {
	var out []subtree
	add := func(tag int, value []byte) {
		out = append(out, subtree{asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: value}})
	}
	for _, name := range s.DNS {
		add(tagDNS, []byte(name))
	}
	for _, n := range s.IPs {
		ip := n.IP
		if v4 := ip.To4(); v4 != nil && len(n.Mask) == net.IPv4len {
			ip = v4
		}
		add(tagIP, append(append([]byte{}, ip...), n.Mask...))
	}
	for _, name := range s.Emails {
		add(tagEmail, []byte(name))
	}
	for _, name := range s.URIs {
		add(tagURI, []byte(name))
	}
	return out
}
