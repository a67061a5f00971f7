package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

var keyUsages = map[cmapi.KeyUsage]x509.KeyUsage{
	cmapi.UsageSigning:           x509.KeyUsageDigitalSignature,
	cmapi.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	cmapi.UsageContentCommitment: x509.KeyUsageContentCommitment,
	cmapi.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	cmapi.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	cmapi.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	cmapi.UsageCertSign:          x509.KeyUsageCertSign,
	cmapi.UsageCRLSign:           x509.KeyUsageCRLSign,
	cmapi.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	cmapi.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

// extKeyUsage pairs the API's name of an extended usage with x509's and with its object identifier (RFC 5280, 4.2.1.12).
type extKeyUsage struct {
	id  x509.ExtKeyUsage
	oid asn1.ObjectIdentifier
}

var extKeyUsages = map[cmapi.KeyUsage]extKeyUsage{
	cmapi.UsageAny:             {x509.ExtKeyUsageAny, asn1.ObjectIdentifier{2, 5, 29, 37, 0}},
	cmapi.UsageServerAuth:      {x509.ExtKeyUsageServerAuth, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}},
	cmapi.UsageClientAuth:      {x509.ExtKeyUsageClientAuth, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}},
	cmapi.UsageCodeSigning:     {x509.ExtKeyUsageCodeSigning, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}},
	cmapi.UsageEmailProtection: {x509.ExtKeyUsageEmailProtection, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}},
	cmapi.UsageSMIME:           {x509.ExtKeyUsageEmailProtection, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}},
	cmapi.UsageIPsecEndSystem:  {x509.ExtKeyUsageIPSECEndSystem, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 5}},
	cmapi.UsageIPsecTunnel:     {x509.ExtKeyUsageIPSECTunnel, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 6}},
	cmapi.UsageIPsecUser:       {x509.ExtKeyUsageIPSECUser, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 7}},
	cmapi.UsageTimestamping:    {x509.ExtKeyUsageTimeStamping, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}},
	cmapi.UsageOCSPSigning:     {x509.ExtKeyUsageOCSPSigning, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}},
	cmapi.UsageMicrosoftSGC:    {x509.ExtKeyUsageMicrosoftServerGatedCrypto, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 3}},
	cmapi.UsageNetscapeSGC:     {x509.ExtKeyUsageNetscapeServerGatedCrypto, asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 4, 1}},
}

// DefaultUsages are a Certificate's when it names none.
func DefaultUsages() []cmapi.KeyUsage {
	return []cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageKeyEncipherment}
}

// Usages is a set of key usages in X.509's terms. Ext has no duplicates and keeps the order in which they were asked for.
type Usages struct {
	Key x509.KeyUsage
	Ext []x509.ExtKeyUsage
	oid []asn1.ObjectIdentifier
}

// ParseUsages reads the API's usages; none means DefaultUsages, and a CA may sign certificates whatever it asks for.
func ParseUsages(names []cmapi.KeyUsage, isCA bool) (Usages, error) {
	if len(names) == 0 {
		names = DefaultUsages()
	}
	var u Usages
	if isCA {
		u.Key |= x509.KeyUsageCertSign
	}
	for _, name := range names {
		if bit, ok := keyUsages[name]; ok {
			u.Key |= bit
		} else if ext, ok := extKeyUsages[name]; ok {
			if !slices.Contains(u.Ext, ext.id) {
				u.Ext = append(u.Ext, ext.id)
				u.oid = append(u.oid, ext.oid)
			}
		} else {
			return Usages{}, fmt.Errorf("unknown key usage %q", name)
		}
	}
	return u, nil
}

// keyUsageBits encodes key usages as the BIT STRING of RFC 5280, 4.2.1.3: bit 0 is the first octet's highest.
func keyUsageBits(usage x509.KeyUsage) ([]byte, error) {
	var octets [2]byte
	bits := 0
	for i := range 9 {
		if usage&(1<<i) != 0 {
			octets[i/8] |= 0x80 >> (i % 8)
			bits = i + 1
		}
	}
	return asn1.Marshal(asn1.BitString{Bytes: octets[:(bits+7)/8], BitLength: bits})
}

func parseKeyUsageBits(der []byte) (x509.KeyUsage, error) {
	var bits asn1.BitString
	if rest, err := asn1.Unmarshal(der, &bits); err != nil || len(rest) != 0 {
		return 0, fmt.Errorf("the key usage extension is not a BIT STRING")
	}
	var usage x509.KeyUsage
	for i := range 9 {
		if bits.At(i) != 0 {
			usage |= 1 << i
		}
	}
	return usage, nil
}
