package validation

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Whatever a Certificate holds, it is answered for without a panic and in bounded length; and what is accepted can be asked for.
func FuzzCertificate(f *testing.F) {
	for _, s := range []string{
		`{"secretName":"a","issuerRef":{"name":"a"},"dnsNames":["a"]}`,
		`{"secretName":"a","issuerRef":{"name":"a"},"literalSubject":"CN=a\\, b+OU=\"c\",2.5.4.42=d"}`,
		`{"secretName":"a","issuerRef":{"name":"a"},"isCA":true,"commonName":"a","nameConstraints":{"permitted":{"dnsDomains":["a"],"ipRanges":["10.0.0.0/8"]}}}`,
		`{"secretName":"a","issuerRef":{"name":"a"},"otherNames":[{"oid":"1.3.6.1.4.1.311.20.2.3","utf8Value":"a@b"}],"uris":["spiffe://a"],"emailAddresses":["a@b"],"ipAddresses":["::1"]}`,
		`{"secretName":"a","issuerRef":{"name":"a"},"dnsNames":["a"],"renewal":{"policy":"RenewBefore","windows":[{"cron":"*/7 1-3 * * 1,2","timezone":"Europe/Berlin","windowDuration":"4h"}]}}`,
		`{"secretName":"a","issuerRef":{"name":"a"},"dnsNames":["a"],"privateKey":{"algorithm":"ECDSA"},"signatureAlgorithm":"ECDSAWithSHA384","usages":["any"]}`,
	} {
		f.Add([]byte(s))
	}
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &cmapi.Certificate{}
		if json.Unmarshal(raw, &c.Spec) != nil {
			return
		}
		if list := Certificate(c); list != nil {
			if n := len(list.ToAggregate().Error()); n > 64<<10 {
				t.Fatalf("a message of %d bytes", n)
			}
			return
		}
		c.Spec.SignatureAlgorithm = "" // it goes with another key than ours
		if _, err := pki.NewRequest(&c.Spec, key); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
	})
}

// What is accepted of a request can be signed as it stands.
func FuzzCertificateRequest(f *testing.F) {
	f.Add(newCSR(f, nil), true, "server auth")
	f.Add(newCSR(f, func(s *spec) { s.IsCA = true }), true, "")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), false, "any")
	f.Fuzz(func(t *testing.T, csr []byte, isCA bool, usage string) {
		r := &cmapi.CertificateRequest{Spec: cmapi.CertificateRequestSpec{Request: csr, IsCA: isCA}}
		r.Spec.IssuerRef.Name = "a"
		if usage != "" {
			r.Spec.Usages = []cmapi.KeyUsage{cmapi.KeyUsage(usage)}
		}
		if CertificateRequest(r) == nil {
			if _, err := pki.ParseRequest(csr); err != nil {
				t.Fatalf("accepted, but: %v", err)
			}
		}
	})
}

// Whatever an issuer holds, it is answered for without a panic and in bounded length.
func FuzzIssuer(f *testing.F) {
	for _, s := range []string{
		`{"selfSigned":{}}`,
		`{"ca":{"secretName":"a","ocspServers":["http://a"]}}`,
		`{"vault":{"server":"https://a","path":"a/../b","auth":{"kubernetes":{"role":"a","secretRef":{"name":"a"}}}}}`,
		`{"venafi":{"zone":"a","tpp":{"url":"https://a","credentialsRef":{"name":"a"},"caBundle":"YQ=="}}}`,
		`{"acme":{"server":"https://a","privateKeySecretRef":{"name":"a"},"solvers":[{"dns01":{"rfc2136":{"nameserver":"[::1]:53"}}},{"http01":{"gatewayHTTPRoute":{"parentRefs":[{"name":"a"}]}}}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		spec := &cmapi.IssuerSpec{}
		if json.Unmarshal(raw, spec) != nil {
			return
		}
		if list, _ := Issuer(spec, field.NewPath("spec")); list != nil && len(list.ToAggregate().Error()) > 64<<10 {
			t.Fatal("a long message")
		}
	})
}
