package inject

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestConsent(t *testing.T) {
	secret := Ref{fromSecret, types.NamespacedName{Namespace: "ns", Name: "s"}}
	certificate := Ref{fromCertificate, types.NamespacedName{Namespace: "ns", Name: "c"}}
	for _, tc := range []struct {
		reason      string
		ask         Ref
		annotations map[string]string
		refused     string // part of the message; empty: allowed
	}{
		{"a Secret that agrees", secret, map[string]string{annotationAllowed: "true"}, ""},
		{"a Secret that says nothing", secret, nil, `annotate it with cert-manager.io/allow-direct-injection: "true"`},
		{"a Secret that disagrees", secret, map[string]string{annotationAllowed: "false"}, "does not allow"},
		{"only that word agrees", secret, map[string]string{annotationAllowed: "True"}, "does not allow"},
		{"being a Certificate's is not enough", secret, map[string]string{cmapi.CertificateNameKey: "s"}, "does not allow"},
		{"the Certificate's own", certificate, map[string]string{cmapi.CertificateNameKey: "c"}, ""},
		{"another Certificate's", certificate, map[string]string{cmapi.CertificateNameKey: "d"}, `belongs to Certificate "d"`},
		{"no Certificate's", certificate, map[string]string{annotationAllowed: "true"}, "is not written by Certificate ns/c"},
	} {
		refusal := consent(tc.ask, secret, tc.annotations)
		if refused := refusal != nil; refused != (tc.refused != "") || refused && !strings.Contains(refusal.Message, tc.refused) {
			t.Errorf("%s: refusal is %+v", tc.reason, refusal)
		}
	}
}

func TestCAOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	read := CAOf(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: file}})
	if _, err := read(); err == nil {
		t.Error("a file that is missing is no error")
	}
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(); err != nil || string(got) != text {
			t.Errorf("read %q, %v, want %q", got, err, text)
		}
	}
	if got, err := CAOf(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: file, CAData: []byte("data")}})(); err != nil || string(got) != "data" {
		t.Errorf("data gives %q, %v", got, err)
	}
	r := &Reconciler{APIServerCA: CAOf(&rest.Config{})}
	if s, err := r.apiServer(); err != nil || s.Refusal == nil || s.Refusal.Reason != reasonSourceNotFound {
		t.Errorf("without a CA: %+v, %v", s, err)
	}
}
