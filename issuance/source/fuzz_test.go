package source

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	certvalidation "github.com/trustglass/trustglass/issuance/validation"
)

// Whatever annotations and entries say: there is a wish or an error, never both; and what is made of a wish, made once more of
// itself, differs in nothing and could be issued.
func FuzzParseIngress(f *testing.F) {
	f.Add("cert-manager.io/duration", "2160h", "cert-manager.io/alt-names", "a,b", "web-tls", "a.example")
	f.Add("cert-manager.io/subject-organizations", `"a, b",c`, "cert-manager.io/private-key-size", "4096", "x", "10.0.0.1")
	f.Add("cert-manager.io/secret-template", `{"labels":{"a":"b"}}`, "cert-manager.io/usages", "any", "x", "*.example")
	f.Add("cert-manager.io/cluster-issuer", "x", "cert-manager.io/issuer-kind", "y", "", "")
	f.Add("cert-manager.io/renew-before", "-9223372036854775808ns", "cert-manager.io/email-sans", "a@b", "x", "y")
	f.Add("cert-manager.io/revision-history-limit", "+1", "cert-manager.io/ip-sans", "::ffff:1.2.3.4", "x", "::1")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, secret, host string) {
		s := ParseIngress(ingress(with(key1, value1, key2, value2), entry(secret, host), entry("fixed", host, "b.example")), policy())
		if s.Wish == nil && len(s.Problems) == 0 {
			t.Fatal("no wish and no reason")
		}
		if s.Wish == nil && len(s.Entries) > 0 {
			t.Fatal("entries of a source that asks for nothing")
		}
		for _, e := range s.Entries {
			if len(validation.IsDNS1123Subdomain(e.SecretName)) > 0 {
				t.Fatalf("a Certificate named %q", e.SecretName)
			}
			c := certificateFor(s, kinds[KindIngress].gvk, e)
			if errs := certvalidation.Certificate(c); len(errs) > 0 {
				t.Fatalf("a Certificate that could not be issued: %v", errs)
			}
			if merged, changed := merge(c, c.DeepCopy(), nil, func(...string) bool { return true }); merged != nil {
				t.Fatalf("it differs from itself in %v", changed)
			}
		}
		if diff := cmp.Diff(s, ParseIngress(ingress(with(key1, value1, key2, value2), entry(secret, host), entry("fixed", host, "b.example")), policy())); diff != "" {
			t.Fatalf("it depends on something else: %s", diff)
		}
	})
}
