package pki

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestParseUsages(t *testing.T) {
	for _, tc := range []struct {
		reason string
		names  []cmapi.KeyUsage
		isCA   bool
		key    x509.KeyUsage
		ext    []x509.ExtKeyUsage
	}{
		{"the default", nil, false, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, nil},
		{"the default of a CA", nil, true, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign, nil},
		{"a CA signs whatever it asks for", []cmapi.KeyUsage{cmapi.UsageCRLSign}, true, x509.KeyUsageCRLSign | x509.KeyUsageCertSign, nil},
		{"an extended usage alone brings no key usage", []cmapi.KeyUsage{cmapi.UsageServerAuth}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		{"signing", []cmapi.KeyUsage{cmapi.UsageSigning}, false, x509.KeyUsageDigitalSignature, nil},
		{"digital signature", []cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageSigning}, false, x509.KeyUsageDigitalSignature, nil},
		{"content commitment", []cmapi.KeyUsage{cmapi.UsageContentCommitment}, false, x509.KeyUsageContentCommitment, nil},
		{"key encipherment", []cmapi.KeyUsage{cmapi.UsageKeyEncipherment}, false, x509.KeyUsageKeyEncipherment, nil},
		{"data encipherment", []cmapi.KeyUsage{cmapi.UsageDataEncipherment}, false, x509.KeyUsageDataEncipherment, nil},
		{"key agreement", []cmapi.KeyUsage{cmapi.UsageKeyAgreement}, false, x509.KeyUsageKeyAgreement, nil},
		{"cert sign", []cmapi.KeyUsage{cmapi.UsageCertSign}, false, x509.KeyUsageCertSign, nil},
		{"crl sign", []cmapi.KeyUsage{cmapi.UsageCRLSign}, false, x509.KeyUsageCRLSign, nil},
		{"encipher only", []cmapi.KeyUsage{cmapi.UsageEncipherOnly}, false, x509.KeyUsageEncipherOnly, nil},
		{"decipher only, bit 8", []cmapi.KeyUsage{cmapi.UsageDecipherOnly}, false, x509.KeyUsageDecipherOnly, nil},
		{"any", []cmapi.KeyUsage{cmapi.UsageAny}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}},
		{"client auth", []cmapi.KeyUsage{cmapi.UsageClientAuth}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{"code signing", []cmapi.KeyUsage{cmapi.UsageCodeSigning}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}},
		{"s/mime is e-mail protection", []cmapi.KeyUsage{cmapi.UsageSMIME, cmapi.UsageEmailProtection}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}},
		{"the ipsec three, in order", []cmapi.KeyUsage{cmapi.UsageIPsecUser, cmapi.UsageIPsecEndSystem, cmapi.UsageIPsecTunnel}, false, 0,
			[]x509.ExtKeyUsage{x509.ExtKeyUsageIPSECUser, x509.ExtKeyUsageIPSECEndSystem, x509.ExtKeyUsageIPSECTunnel}},
		{"timestamping, ocsp", []cmapi.KeyUsage{cmapi.UsageTimestamping, cmapi.UsageOCSPSigning}, false, 0, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageOCSPSigning}},
		{"the two gated ones", []cmapi.KeyUsage{cmapi.UsageMicrosoftSGC, cmapi.UsageNetscapeSGC}, false, 0,
			[]x509.ExtKeyUsage{x509.ExtKeyUsageMicrosoftServerGatedCrypto, x509.ExtKeyUsageNetscapeServerGatedCrypto}},
	} {
		got, err := ParseUsages(tc.names, tc.isCA)
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		if got.Key != tc.key {
			t.Errorf("%s: key usage %b, want %b", tc.reason, got.Key, tc.key)
		}
		if diff := cmp.Diff(tc.ext, got.Ext); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
	if _, err := ParseUsages([]cmapi.KeyUsage{"server auth", "sign everything"}, false); err == nil || err.Error() != `unknown key usage "sign everything"` {
		t.Errorf("an unknown usage: %v", err)
	}
}

// The object identifiers of our table are those that x509 writes, and the bits of a key usage those that it writes and reads.
func TestUsagesAgainstX509(t *testing.T) {
	key := newKey(t, p256)
	sign := func(template *x509.Certificate) *x509.Certificate {
		template.SerialNumber = big.NewInt(1)
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return must(x509.ParseCertificate(der))
	}
	extension := func(c *x509.Certificate, id string) []byte {
		for _, e := range c.Extensions {
			if e.Id.String() == id {
				return e.Value
			}
		}
		return nil
	}
	for name, usage := range extKeyUsages {
		oids, err := parseOIDs(extension(sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage.id}}), oidExtKeyUsage.String()))
		if err != nil || len(oids) != 1 || oids[0] != usage.oid.String() {
			t.Errorf("%s: x509 writes %v (%v), the table has %s", name, oids, err, usage.oid)
		}
	}
	for bits := x509.KeyUsage(1); bits < 1<<9; bits++ {
		cert := sign(&x509.Certificate{KeyUsage: bits})
		ours, err := keyUsageBits(bits)
		if err != nil {
			t.Fatal(err)
		}
		if theirs := extension(cert, oidKeyUsage.String()); string(ours) != string(theirs) {
			t.Errorf("key usage %09b is % x here and % x in x509", bits, ours, theirs)
		}
		if back, err := parseKeyUsageBits(ours); err != nil || back != bits {
			t.Errorf("key usage %09b comes back as %09b (%v)", bits, back, err)
		}
	}
}

func TestMalformedExtensions(t *testing.T) {
	for _, der := range [][]byte{nil, {}, {0x30}, {0x05, 0x00}, {0x02, 0x01, 0x01}, {0x03, 0x02, 0x07, 0x80, 0x00}} {
		if _, err := parseKeyUsageBits(der); err == nil {
			t.Errorf("key usage % x was read", der)
		}
		if _, err := parseOIDs(der); err == nil {
			t.Errorf("extended key usage % x was read", der)
		}
		if _, err := parseIsCA(der); err == nil {
			t.Errorf("basic constraints % x were read", der)
		}
	}
	for _, tc := range []struct {
		der  []byte
		want bool
	}{{[]byte{0x30, 0x00}, false}, {[]byte{0x30, 0x03, 0x01, 0x01, 0xff}, true}, {[]byte{0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00}, true}} {
		if got, err := parseIsCA(tc.der); err != nil || got != tc.want {
			t.Errorf("basic constraints % x: %t, %v", tc.der, got, err)
		}
	}
}
