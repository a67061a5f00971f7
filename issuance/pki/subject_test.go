package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestParseLiteralSubject(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         string // in the order of DER, "OID=value" joined by ",", multi-valued by "+"
	}{
		{"reversed into DER", "CN=web,O=Ex,C=CH", "2.5.4.6=CH,2.5.4.10=Ex,2.5.4.3=web"},
		{"every short name", "C=a,O=b,OU=c,CN=d,SERIALNUMBER=e,L=f,ST=g,STREET=h,DC=i,UID=j",
			"0.9.2342.19200300.100.1.1=j,0.9.2342.19200300.100.1.25=i,2.5.4.9=h,2.5.4.8=g,2.5.4.7=f,2.5.4.5=e,2.5.4.3=d,2.5.4.11=c,2.5.4.10=b,2.5.4.6=a"},
		{"an object identifier", "1.2.3.4=x", "1.2.3.4=x"},
		{"case of the name", "cn=web", "2.5.4.3=web"},
		{"an escaped comma", `O=Ex\, Inc.,CN=a`, "2.5.4.3=a,2.5.4.10=Ex, Inc."},
		{"bytes in hexadecimal", `O=Z\C3\BCrich`, "2.5.4.10=Zürich"},
		{"a quoted value", `O="Ex, Inc.",CN=a`, "2.5.4.3=a,2.5.4.10=Ex, Inc."},
		{"white space around", " CN = web , O = Ex ", "2.5.4.10=Ex,2.5.4.3=web"},
		{"an escaped blank at the end stays", `CN=a\ `, "2.5.4.3=a "},
		{"several values in one part", "CN=a+UID=b,O=c", "2.5.4.10=c,2.5.4.3=a+0.9.2342.19200300.100.1.1=b"},
		{"an equals sign in a value", "CN=a=b", "2.5.4.3=a=b"},
	} {
		got, err := ParseLiteralSubject(tc.text)
		if err != nil || describe(got) != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.reason, describe(got), err, tc.want)
		}
	}
	for text, want := range map[string]string{
		"":                           "empty",
		"web":                        "KEY=value",
		"CN=a,":                      "KEY=value",
		"NOPE=a":                     "known attribute",
		"CN=":                        "empty",
		`CN=a\`:                      "backslash",
		`CN=a\zz`:                    "backslash",
		`CN="a`:                      "quotes",
		`CN=a"b`:                     "quote",
		"CN=#0401":                   "hexadecimal",
		`CN=\FF`:                     "UTF-8",
		"9.9=x":                      "known attribute",
		strings.Repeat("CN=a,", 900): "more than",
	} {
		if got, err := ParseLiteralSubject(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %q, %v, want an error with %q", text, describe(got), err, want)
		}
	}
}

func describe(rdns pkix.RDNSequence) string {
	var parts []string
	for _, set := range rdns {
		var values []string
		for _, a := range set {
			values = append(values, a.Type.String()+"="+a.Value.(string))
		}
		parts = append(parts, strings.Join(values, "+"))
	}
	return strings.Join(parts, ",")
}

func TestLiteralSubjectInRequest(t *testing.T) {
	spec := &cmapi.CertificateSpec{LiteralSubject: "CN=web,DC=example,DC=org", DNSNames: []string{"a.example.org"}}
	csr := must(ParseRequest(must(NewRequest(spec, newKey(t, p256)))))
	var got pkix.RDNSequence
	if _, err := asn1.Unmarshal(csr.RawSubject, &got); err != nil {
		t.Fatal(err)
	}
	if want := "0.9.2342.19200300.100.1.25=org,0.9.2342.19200300.100.1.25=example,2.5.4.3=web"; describe(got) != want {
		t.Errorf("subject %q, want %q", describe(got), want)
	}
	request := requestFor(t, spec, newKey(t, p256))
	digest := NewRequestDigest(request.Request)
	if diff := Mismatches(spec, request, digest); diff != nil {
		t.Errorf("a spec differs from its own request: %v", diff)
	}
	changed := *spec
	changed.LiteralSubject = "CN=web,DC=org,DC=example"
	if diff := Mismatches(&changed, request, digest); len(diff) != 1 || diff[0] != "spec.literalSubject" {
		t.Errorf("another order of the subject's parts: %v", diff)
	}
	if CommonNameOf(spec) != "web" || CommonNameOf(&cmapi.CertificateSpec{LiteralSubject: "O=a"}) != "" {
		t.Error("the common name in a literal subject is not found")
	}
}

func FuzzParseLiteralSubject(f *testing.F) {
	for _, s := range []string{"CN=web,O=Ex,C=CH", `O="Ex, Inc.",CN=a\+b`, `CN=\C3\BC+UID=1`, "1.2.3=x", `\`, `CN="`, "CN=a;O=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rdns, err := ParseLiteralSubject(s)
		if err != nil {
			return
		}
		if len(rdns) == 0 {
			t.Fatal("a subject without parts")
		}
		if _, err := marshalRDNs(rdns); err != nil {
			t.Fatalf("a subject that can't be encoded: %v", err)
		}
	})
}
