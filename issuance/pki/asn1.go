package pki

import (
	"encoding/asn1"
	"errors"
)

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
