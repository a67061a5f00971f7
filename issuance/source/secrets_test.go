package source

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTaken(t *testing.T) {
	for _, tc := range []struct {
		reason string
		s      standing
		want   string // "" for free
	}{
		{"issued for this name before, whatever its type", standing{Type: "Opaque", Keys: []string{"tls.crt", "more"}, IssuedFor: "web"}, ""},
		{"issued for a Certificate that is gone", standing{Type: "Opaque", Keys: []string{"more"}, IssuedFor: "old"}, ""},
		{"issued for another that wants it", standing{Type: corev1.SecretTypeTLS, IssuedFor: "old", Elsewhere: true}, "it is that of Certificate old"},
		{"made by hand, a certificate from elsewhere or none", standing{Type: corev1.SecretTypeTLS, Keys: []string{"tls.crt", "tls.key", "more"}}, ""},
		{"made by hand with another type, empty", standing{Type: "Opaque"}, ""},
		{"made by hand with another type, a key pair", standing{Type: "Opaque", Keys: []string{"ca.crt", "tls.crt", "tls.key"}}, ""},
		{"a password", standing{Type: "Opaque", Keys: []string{"password"}}, "it is of type Opaque, was issued for no Certificate, and holds something else"},
		{"a registry's", standing{Type: corev1.SecretTypeDockerConfigJson, Keys: []string{".dockerconfigjson"}}, "it is of type kubernetes.io/dockerconfigjson"},
		{"a token, even while it is empty", standing{Type: corev1.SecretTypeServiceAccountToken}, "it is of type kubernetes.io/service-account-token"},
		{"a CA, even if it was issued for this name", standing{Type: corev1.SecretTypeTLS, IssuedFor: "web", Signs: "Issuer ca"}, "it holds the CA of Issuer ca"},
		{"a key for a certificate under way", standing{Type: "Opaque", Keys: []string{"tls.key"}, NextKey: true}, "it holds the private key of"},
		{"a mirror", standing{Type: corev1.SecretTypeTLS, MirrorOf: "far/web"}, "it is a mirror of far/web"},
	} {
		got := taken("web", tc.s)
		if tc.want == "" && got != "" || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
}

func TestStandingOf(t *testing.T) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"cert-manager.io/next-private-key": "true"},
			Annotations: map[string]string{"cert-manager.io/certificate-name": "web", "replicator.v1.mittwald.de/replicate-from": "a/b"},
		},
		Type: "Opaque", Data: map[string][]byte{"b": []byte("secret"), "a": nil},
	}
	want := standing{Type: "Opaque", Keys: []string{"a", "b"}, NextKey: true, IssuedFor: "web", MirrorOf: "a/b"}
	if diff := cmp.Diff(want, standingOf(s)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
