package inject

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trustglass/trustglass/issuance/pki"
)

func TestParseCA(t *testing.T) {
	a, b := testCA(t, "a", start), testCA(t, "b", start)
	key := testKey(t)
	for _, tc := range []struct {
		reason, text string
		want         []string
		refused      string // part of the message
	}{
		{reason: "one certificate", text: a, want: []string{a}},
		{reason: "several, with text around them", text: "# the first\n" + a + "\n\n" + b + "# end", want: []string{a, b}},
		{reason: "no newline at the end", text: strings.TrimSpace(a), want: []string{a}},
		{reason: "nothing", text: "", refused: "holds no certificate in PEM form"},
		{reason: "garbage", text: "garbage", refused: "holds no certificate in PEM form"},
		{reason: "a private key is never passed over", text: a + key, refused: "holds a private key"},
		{reason: "nor one alone", text: key, refused: "holds a private key"},
		{reason: "another kind of block", text: a + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", refused: "holds a PEM block of another kind"},
		{reason: "headers", text: strings.Replace(a, "-----\n", "-----\nA: b\n\n", 1), refused: "holds a PEM block with headers"},
		{reason: "a copy that was cut off drops no certificate unseen", text: a + b[:200], refused: "perhaps cut off"},
		{reason: "a block cut off before a good one", text: b[:200] + "\n" + a, refused: "perhaps cut off"},
		{reason: "DER that is no certificate", text: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", refused: "certificate 1 cannot be parsed"},
		{reason: "too large", text: strings.Repeat(a, 1000), refused: "more than the 330000 allowed"},
	} {
		got, refusal := parseCA("ca.crt of Secret ns/s", []byte(tc.text))
		if diff := cmp.Diff(strings.Join(tc.want, ""), string(pki.EncodeCertificates(got...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if refused := refusal != nil; refused != (tc.refused != "") || refused && !strings.Contains(refusal.Message, tc.refused) {
			t.Errorf("%s: refusal is %+v", tc.reason, refusal)
		}
		if refusal != nil && strings.Contains(refusal.Message, key[40:60]) {
			t.Errorf("%s: the message quotes a key", tc.reason)
		}
	}
}

func TestMerge(t *testing.T) {
	past, future := start.AddDate(0, 0, -1), start.AddDate(1, 0, 0)
	a, b, c := testCA(t, "a", future), testCA(t, "b", future), testCA(t, "c", future)
	old, last := testCA(t, "old", past), testCA(t, "last", start)
	size := func(texts ...string) int { return len(strings.Join(texts, "")) }
	for _, tc := range []struct {
		reason            string
		present, ca, want []string
		limit             int
	}{
		{reason: "into nothing goes the CA", ca: []string{a}, want: []string{a}},
		{reason: "a new CA comes last", present: []string{a}, ca: []string{b}, want: []string{a, b}},
		{reason: "what is there stays where it is", present: []string{b, a}, ca: []string{a, b}, want: []string{b, a}},
		{reason: "each once", present: []string{a, a, b}, ca: []string{b, b}, want: []string{a, b}},
		{reason: "expired ones go, wherever they come from", present: []string{old, a}, ca: []string{old, b}, want: []string{a, b}},
		{reason: "in its last second a certificate is good", present: []string{last}, ca: []string{a}, want: []string{last, a}},
		{reason: "without room the oldest goes first", present: []string{a, b}, ca: []string{c}, limit: size(b, c) + 3, want: []string{b, c}},
		{reason: "never the CA itself", present: []string{a, b}, ca: []string{a}, limit: size(a) + 3, want: []string{a}},
	} {
		limit := tc.limit
		if limit == 0 {
			limit = maxTargetBytes
		}
		got := merge(parsed(t, tc.present...), parsed(t, tc.ca...), limit, start)
		if diff := cmp.Diff(strings.Join(tc.want, ""), string(pki.EncodeCertificates(got...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func FuzzBundle(f *testing.F) {
	a, b := testCA(f, "a", start.AddDate(1, 0, 0)), testCA(f, "b", start.AddDate(1, 0, 0))
	for _, s := range []string{a, a + b, a + a, "", "\n", testKey(f), a[:100], testCA(f, "old", start.AddDate(0, -1, 0)), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		f.Add([]byte(s), []byte(b))
		f.Add([]byte(a), []byte(s))
	}
	f.Fuzz(func(t *testing.T, present, ca []byte) {
		certs, refusal := parseCA("ca.crt", ca)
		todo := plan(State{Refusal: refusal, Source: "ca.crt", CA: certs, Slots: []Slot{{Bundle: present}, {Webhook: "x", Bundle: certsOnly(certs)}}, Now: start})
		inject, ok := todo.(Inject)
		if !ok {
			return
		}
		for _, s := range inject.Slots {
			got, clean := parsePresent(s.Bundle)
			if !clean {
				t.Fatalf("wrote %q", s.Bundle)
			}
			for _, c := range withoutExpired(certs, start) {
				if !strings.Contains(string(s.Bundle), string(pki.EncodeCertificates(c))) {
					t.Errorf("left out a certificate of the CA")
				}
			}
			if len(withoutExpired(got, start)) != len(got) {
				t.Errorf("wrote an expired certificate")
			}
		}
		if again := plan(State{CA: certs, Slots: inject.Slots, Now: start}); again != (Keep{inject.Until}) {
			t.Errorf("the second decision is %T", again)
		}
	})
}

func certsOnly(certs []*x509.Certificate) []byte { return pki.EncodeCertificates(certs...) }
