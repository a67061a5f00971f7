package issuance

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// The rules themselves are package validation's; here: all faults are told at once, in one line, and those of our own annotations.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		reason string
		set    func(*cmapi.Certificate)
		want   []string // parts of the error; none if there is no error
	}{
		{"good", func(*cmapi.Certificate) {}, nil},
		{"two faults", func(c *cmapi.Certificate) { c.Spec.SecretName, c.Spec.DNSNames = "", nil }, []string{"spec.secretName: ", "; spec"}},
		{"retain", func(c *cmapi.Certificate) { c.Annotations = map[string]string{annDeletion: "Retain"} }, nil},
		{"an unknown deletion policy", func(c *cmapi.Certificate) { c.Annotations = map[string]string{annDeletion: "Maybe"} },
			[]string{`metadata.annotations[trustglass.io/secret-deletion-policy]: Unsupported value: "Maybe": supported values: "Delete", "Retain"`}},
	} {
		c := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: cmapi.CertificateSpec{
			SecretName: "web-tls", DNSNames: []string{"web.example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"},
		}}
		tc.set(c)
		err := validate(c)
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		for _, part := range tc.want {
			if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q lacks %q", tc.reason, err, part)
			}
		}
	}
}
