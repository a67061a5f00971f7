package source

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
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
		{"a CA, even if it was issued for this name", standing{Type: corev1.SecretTypeTLS, IssuedFor: "web", NamedBy: "Issuer ca", NamedIn: "spec.ca.secretName"}, "it holds the CA of Issuer ca"},
		{"what an issuer works with", standing{Type: corev1.SecretTypeTLS, NamedBy: "Issuer vault", NamedIn: "spec.vault.clientKeySecretRef"},
			"Issuer vault works with it, by spec.vault.clientKeySecretRef"},
		{"the daemon's own, before it is there too", standing{Own: true}, "it is this daemon's own"},
		{"a key alone: an ACME account's", standing{Type: "Opaque", Keys: []string{"tls.key"}}, "it is of type Opaque, was issued for no Certificate, and holds a private key without"},
		{"a key alone, of any type", standing{Type: "example.org/account", Keys: []string{"ca.crt", "tls.key"}}, "it is of type example.org/account, was issued"},
		{"a key alone, left over from an issuance", standing{Type: "Opaque", Keys: []string{"tls.key"}, IssuedFor: "old"}, ""},
		{"a CA that is injected", standing{Type: corev1.SecretTypeTLS, Keys: []string{"ca.crt", "tls.crt", "tls.key"}, Injected: true}, "its CA may be injected"},
		{"issued for this name before, and injected", standing{Type: corev1.SecretTypeTLS, IssuedFor: "web", Injected: true}, ""},
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
			Labels: map[string]string{"cert-manager.io/next-private-key": "true"},
			Annotations: map[string]string{
				"cert-manager.io/certificate-name": "web", "replicator.v1.mittwald.de/replicate-from": "a/b", "cert-manager.io/allow-direct-injection": "true",
			},
		},
		Type: "Opaque", Data: map[string][]byte{"b": []byte("secret"), "a": nil},
	}
	want := standing{Type: "Opaque", Keys: []string{"a", "b"}, NextKey: true, IssuedFor: "web", Injected: true, MirrorOf: "a/b"}
	if diff := cmp.Diff(want, standingOf(s)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Every reference to a Secret that the API's types know of is found, those of types that are not served too.
func TestNamedIn(t *testing.T) {
	spec := &cmapi.IssuerSpec{}
	names := map[string]bool{}
	fillNames(reflect.ValueOf(spec).Elem(), names, "s")
	for _, name := range []string{"s-CA-SecretName", "s-ACME-PrivateKey", "s-ACME-ExternalAccountBinding-Key", "s-ACME-Solvers-DNS01-RFC2136-TSIGSecret",
		"s-Vault-Auth-AppRole-SecretRef", "s-Vault-Auth-ClientCertificate-SecretName", "s-Vault-CABundleSecretRef", "s-Venafi-TPP-CredentialsRef"} {
		if !names[name] {
			t.Errorf("%s is not among what the types have: %v", name, names)
		}
	}
	for name := range names {
		if field, err := namedIn(spec, name); err != nil || field == "" {
			t.Errorf("%s is not found: %v", name, err)
		}
	}
	if field, _ := namedIn(spec, "s-Vault-Auth-TokenSecretRef"); field != "spec.vault.auth.tokenSecretRef" {
		t.Errorf("found in %q", field)
	}
	webhook := &cmapi.IssuerSpec{}
	err := json.Unmarshal([]byte(`{"acme":{"solvers":[{"dns01":{"webhook":{"groupName":"g","solverName":"s","config":
		{"zone":"zone","apiKeySecretRef":{"name":"a","key":"k"},"secretName":"b","endpoint":{"name":"e"}}}}}]}}`), webhook)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a":    "spec.acme.solvers[0].dns01.webhook.config.apiKeySecretRef",
		"b":    "spec.acme.solvers[0].dns01.webhook.config.secretName",
		"zone": "", "k": "", "e": "",
	} {
		if got, err := namedIn(webhook, name); err != nil || got != want {
			t.Errorf("%q is found in %q, want %q; %v", name, got, want, err)
		}
	}
}

// fillNames sets every field and list, and in every reference to a Secret a name of its own, which it notes.
func fillNames(v reflect.Value, names map[string]bool, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if strings.Contains(v.Type().Elem().PkgPath(), "cert-manager") {
			v.Set(reflect.New(v.Type().Elem()))
			fillNames(v.Elem(), names, path)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fillNames(v.Index(0), names, path)
		}
	case reflect.Struct:
		if ref := v.FieldByName("LocalObjectReference"); ref.IsValid() {
			v = ref
		}
		if v.Type() == reflect.TypeFor[cmmeta.LocalObjectReference]() {
			v.FieldByName("Name").SetString(path)
			names[path] = true
			return
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name == "SecretName" {
				v.Field(i).SetString(path + "-" + name)
				names[path+"-"+name] = true
			} else if v.Type().Field(i).Anonymous {
				fillNames(v.Field(i), names, path)
			} else {
				fillNames(v.Field(i), names, path+"-"+name)
			}
		}
	}
}
