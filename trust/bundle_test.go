package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAssemble(t *testing.T) {
	a, b := testCert(t, "a", nil), testCert(t, "b", nil)
	old := testCert(t, "old", func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Minute) })
	soon := testCert(t, "soon", func(c *x509.Certificate) { c.NotAfter = start.Add(time.Minute) })
	future := testCert(t, "future", func(c *x509.Certificate) { c.NotBefore = start.Add(time.Hour) })
	leaf := testCert(t, "leaf", func(c *x509.Certificate) { c.IsCA = false })
	key := testKey(t)
	headers := strings.Replace(a, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)

	for _, tc := range []struct {
		reason  string
		inputs  []string
		options Options
		want    string // PEM
		skipped []string
		until   time.Time
		refused string // reason
	}{
		{reason: "one certificate, without the newline at the end", inputs: []string{a}, want: joined(a)},
		{reason: "the order of sources does not matter (1)", inputs: []string{a, b}, want: joined(a, b)},
		{reason: "the order of sources does not matter (2)", inputs: []string{b, a}, want: joined(a, b)},
		{reason: "a certificate twice in one source", inputs: []string{a + b + a}, want: joined(a, b)},
		{reason: "a certificate in two sources", inputs: []string{a, b + a}, want: joined(a, b)},
		{reason: "text around blocks, invalid UTF-8 included, is dropped", inputs: []string{"# root\xff\n" + a + "\nmore\n" + b + "end"}, want: joined(a, b)},
		{reason: "BEGIN within a line is text", inputs: []string{"# -----BEGIN CERTIFICATE-----\n" + a}, want: joined(a)},
		{reason: "newlines around inLine text", inputs: []string{"\n\n" + a + "\n\n"}, want: joined(a)},
		{reason: "a source without certificates beside one that has some is fine", inputs: []string{"", "text", a}, want: joined(a)},
		{reason: "expired certificates are kept unless asked otherwise", inputs: []string{a, old}, want: joined(a, old)},
		{reason: "certificates not yet valid are kept", inputs: []string{future}, options: Options{FilterExpired: true}, want: joined(future), until: start.AddDate(10, 0, 0)},
		{reason: "expired ones left out, and known when the next one expires", inputs: []string{a, old, soon},
			options: Options{FilterExpired: true}, want: joined(a, soon), skipped: []string{"CN=old expired"}, until: start.Add(time.Minute)},
		{reason: "leaves are kept unless asked otherwise", inputs: []string{a, leaf}, want: joined(a, leaf)},
		{reason: "leaves left out", inputs: []string{a, leaf}, options: Options{FilterNonCA: true}, want: joined(a), skipped: []string{"CN=leaf not a CA"}},
		{reason: "nothing left by the filters", inputs: []string{old}, options: Options{FilterExpired: true}, refused: reasonSourceNotFound},
		{reason: "no source at all", refused: reasonSourceNotFound},
		{reason: "an empty source alone", inputs: []string{" \n"}, refused: reasonSourceNotFound},
		{reason: "text alone is a mistake in the source", inputs: []string{"not PEM"}, refused: reasonSourceBuildError},
		{reason: "a private key", inputs: []string{a, key}, refused: reasonSourceBuildError},
		{reason: "a private key after a certificate of the same source", inputs: []string{a + key}, refused: reasonSourceBuildError},
		{reason: "a private key that is cut off", inputs: []string{a + key[:len(key)-30]}, refused: reasonSourceBuildError},
		{reason: "a certificate that is cut off", inputs: []string{a + b[:len(b)-30]}, refused: reasonSourceBuildError},
		{reason: "a certificate that is cut off before a good one", inputs: []string{b[:len(b)-30] + "\n" + a}, refused: reasonSourceBuildError},
		{reason: "a block that is no certificate inside", inputs: []string{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, refused: reasonSourceBuildError},
		{reason: "another type of block", inputs: []string{strings.ReplaceAll(a, "CERTIFICATE", "TRUSTED CERTIFICATE")}, refused: reasonSourceBuildError},
		{reason: "PEM headers", inputs: []string{headers}, refused: reasonSourceBuildError},
		{reason: "a key too large to parse", inputs: []string{strings.Repeat("x", maxInputBytes+1)}, refused: reasonSourceBuildError},
		{reason: "sources too large together", inputs: many(9, strings.Repeat("x", maxInputBytes)), refused: reasonSourceBuildError},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var inputs []Input
			for _, s := range tc.inputs {
				inputs = append(inputs, Input{From: "here", PEM: []byte(s)})
			}
			pool, err := assemble(inputs, tc.options, start)
			var refusal *Refusal
			if errors.As(err, &refusal); err != nil && refusal == nil || reasonOf(refusal) != tc.refused {
				t.Fatalf("refused: %v, want reason %q", err, tc.refused)
			}
			if diff := cmp.Diff(tc.want, pool.PEM); diff != "" {
				t.Errorf("PEM (-want +got):\n%s", diff)
			}
			var skipped []string
			for _, s := range pool.Skipped {
				skipped = append(skipped, s.Subject+" "+s.Why)
			}
			if diff := cmp.Diff(tc.skipped, skipped); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
			if !pool.Until.Equal(tc.until) {
				t.Errorf("until %s, want %s", pool.Until, tc.until)
			}
			if n := strings.Count(pool.PEM, "BEGIN"); n != len(pool.Certificates) {
				t.Errorf("%d certificates listed, %d published", len(pool.Certificates), n)
			}
		})
	}
}

func many(n int, s string) (list []string) {
	for range n {
		list = append(list, s)
	}
	return list
}

func reasonOf(r *Refusal) string {
	if r == nil {
		return ""
	}
	return r.Reason
}

func TestAssembleTooLarge(t *testing.T) {
	var all strings.Builder
	for all.Len() < maxOutputBytes/2 {
		all.WriteString(testCert(t, strings.Repeat("x", 8<<10), nil))
	}
	var more strings.Builder
	for more.Len() < maxOutputBytes*2/3 {
		more.WriteString(testCert(t, strings.Repeat("y", 8<<10), nil))
	}
	_, err := assemble([]Input{{PEM: []byte(all.String())}, {PEM: []byte(more.String())}}, Options{}, start)
	var refusal *Refusal
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "split") {
		t.Errorf("assembling more than a ConfigMap holds: %v, want a refusal that says to split", err)
	}
}

func TestRefusalsHoldNoSource(t *testing.T) {
	key := testKey(t)
	for _, source := range []string{key, testCert(t, "a", nil) + key, key[:len(key)-30], strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE")} {
		_, err := assemble([]Input{{From: "here", PEM: []byte(source)}}, Options{}, start)
		if err == nil {
			t.Fatal("a private key was accepted")
		}
		for _, line := range strings.Split(key, "\n")[1:3] {
			if strings.Contains(err.Error(), line) {
				t.Errorf("the error has key bytes")
			}
		}
	}
}

func TestContentHash(t *testing.T) {
	sum := func(s string) string {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
	for _, tc := range []struct {
		reason              string
		annotations, labels map[string]string
		want                string
	}{
		{reason: "PEM only", want: sum("PEM")},
		{reason: "annotations come before labels, each by key", annotations: map[string]string{"b": "2", "a": "1"},
			labels: map[string]string{"d": "4", "c": "3"}, want: sum("PEMa1b2c3d4")},
		{reason: "nothing between key and value", labels: map[string]string{"ab": "c"}, want: sum("PEMabc")},
	} {
		if got := contentHash("PEM", tc.annotations, tc.labels); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
	if got := contentHash("", nil, nil); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("hash of nothing: %s", got)
	}
}

func FuzzAssemble(f *testing.F) {
	cert, key := testCert(f, "a", nil), testKey(f)
	for _, seed := range []string{"", cert, key, cert + key, key + cert, cert[:len(cert)-20], "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" + cert,
		"-----BEGIN \n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "\xff\n-----BEGIN X-----\na: b\n\n\n-----END X-----\n"} {
		f.Add([]byte(seed), true, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, expired, nonCA bool) {
		pool, err := assemble([]Input{{From: "here", PEM: data}}, Options{FilterExpired: expired, FilterNonCA: nonCA}, start)
		if err != nil {
			if pool.PEM != "" {
				t.Error("refused and still published")
			}
			return
		}
		again, err := assemble([]Input{{From: "there", PEM: []byte(pool.PEM)}}, Options{}, start)
		if err != nil || again.PEM != pool.PEM {
			t.Errorf("what was published does not read as what it is: %v", err)
		}
		if strings.Contains(pool.PEM, "PRIVATE KEY") {
			t.Error("a private key was published")
		}
	})
}
