package pki

import (
	"encoding/asn1"
	"errors"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// OtherName is a subject alternative name of a kind of its own, such as a user principal name: an identifier and a text.
type OtherName struct {
	OID   asn1.ObjectIdentifier
	Value string
}

func (n OtherName) String() string { return n.OID.String() + "=" + n.Value }

// ParseOtherNames reads spec.otherNames. An error names the entry and the field at fault.
func ParseOtherNames(list []cmapi.OtherName) ([]OtherName, error) {
	var out []OtherName
	for i, n := range list {
		oid, err := ParseOID(n.OID)
		if err != nil {
			return nil, fmt.Errorf("spec.otherNames[%d].oid: %w", i, err)
		}
		if n.UTF8Value == "" {
			return nil, fmt.Errorf("spec.otherNames[%d].utf8Value: it is empty", i)
		}
		out = append(out, OtherName{OID: oid, Value: n.UTF8Value})
	}
	return out, nil
}

// otherName is RFC 5280's OtherName. The value's own tag is explicit.
type otherName struct {
	TypeID asn1.ObjectIdentifier
	Value  asn1.RawValue
}

// generalName encodes an OtherName as a GeneralName: [0] IMPLICIT SEQUENCE { type-id, value [0] EXPLICIT UTF8String }.
func (n OtherName) generalName() (asn1.RawValue, error) {
	text, err := asn1.MarshalWithParams(n.Value, "utf8")
	if err != nil {
		return asn1.RawValue{}, fmt.Errorf("encoding other name %s: %w", n.OID, err)
	}
	value := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: text}
	der, err := asn1.MarshalWithParams(otherName{TypeID: n.OID, Value: value}, "tag:0")
	if err != nil {
		return asn1.RawValue{}, fmt.Errorf("encoding other name %s: %w", n.OID, err)
	}
	return asn1.RawValue{FullBytes: der}, nil
}

// parseOtherNames returns the other names of a subjectAltName extension whose value is a UTF8String; others are passed over.
func parseOtherNames(der []byte) ([]OtherName, error) {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return nil, errors.New("the subject alternative names are malformed")
	}
	var out []OtherName
	for _, raw := range names {
		if raw.Class != asn1.ClassContextSpecific || raw.Tag != tagOther {
			continue
		}
		var n otherName
		if _, err := asn1.UnmarshalWithParams(raw.FullBytes, &n, "tag:0"); err != nil {
			return nil, errors.New("the subject alternative names hold a malformed other name")
		}
		var text asn1.RawValue
		if _, err := asn1.Unmarshal(n.Value.Bytes, &text); err == nil && text.Class == asn1.ClassUniversal && text.Tag == asn1.TagUTF8String {
			out = append(out, OtherName{OID: n.TypeID, Value: string(text.Bytes)})
		}
	}
	return out, nil
}
