package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestParseTemplate(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         *cmapi.CertificateSecretTemplate
	}{
		{"both", `{"annotations":{"a.example/b":"1"},"labels":{"c":"2"}}`, &cmapi.CertificateSecretTemplate{
			Annotations: map[string]string{"a.example/b": "1"}, Labels: map[string]string{"c": "2"},
		}},
		{"an empty object sets nothing", `{}`, nil},
		{"empty maps set nothing", `{"annotations":{},"labels":null}`, nil},
		{"white space behind it", "{\"labels\":{\"a\":\"\"}} \n", &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": ""}}},
		{"a domain that only ends alike", `{"annotations":{"mycert-manager.io/x":"1"}}`, &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"mycert-manager.io/x": "1"}}},
	} {
		got, err := parseTemplate(tc.text, false)
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for _, tc := range []struct{ reason, text, want string }{
		{"nothing", "", "parsing it as JSON"},
		{"a list", "[]", "parsing it as JSON"},
		{"an unknown field", `{"data":{}}`, "unknown field"},
		{"a number", `{"labels":{"a":1}}`, "parsing it as JSON"},
		{"two objects", `{}{"labels":{"a":"1"}}`, "something behind"},
		{"too long", `{"labels":{"a":"` + strings.Repeat(" ", maxValue) + `"}}`, "bytes are more than the 32768"},
		{"an annotation's key", `{"annotations":{"a b":""}}`, `annotation "a b": not a key`},
		{"a label's key", `{"labels":{"-":""}}`, `label "-": not a key`},
		{"a label's value", `{"labels":{"a":"x y"}}`, `label a: "x y" is not a label's value`},
		{"an annotation of cert-manager", `{"annotations":{"cert-manager.io/allow-direct-injection":"true"}}`, "annotation cert-manager.io/allow-direct-injection is reserved"},
		{"the label by which Secrets are managed", `{"labels":{"controller.cert-manager.io/fao":"true"}}`, "label controller.cert-manager.io/fao is reserved"},
		{"the label of a next key", `{"labels":{"cert-manager.io/next-private-key":"true"}}`, "label cert-manager.io/next-private-key is reserved"},
		{"one of ours", `{"annotations":{"trustglass.io/anything":""}}`, "annotation trustglass.io/anything is reserved"},
	} {
		if got, err := parseTemplate(tc.text, true); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v; want an error with %q", tc.reason, got, err, tc.want)
		}
	}
}

// Who may edit an Ingress must not have its Secret copied elsewhere by it, unless the administrator allows that.
func TestTemplateDoesNotReflect(t *testing.T) {
	for _, key := range []string{
		"reflector.v1.k8s.emberstack.com/reflection-allowed", "reflector.v1.k8s.emberstack.com/reflection-auto-namespaces",
		"Reflector.v1.k8s.emberstack.com/reflection-allowed", "replicator.v1.mittwald.de/replicate-to", "kubed.appscode.com/sync",
	} {
		for _, field := range []string{"annotations", "labels"} {
			text := fmt.Sprintf(`{%q:{%q:"true"}}`, field, key)
			_, err := parseTemplate(text, false)
			if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "secretTemplate of a Certificate") {
				t.Errorf("%s: %v does not name the key and what to do", text, err)
			}
			if _, err := parseTemplate(text, true); err != nil && key == strings.ToLower(key) {
				t.Errorf("%s, allowed: %v", text, err)
			}
		}
	}
}

func FuzzParseTemplate(f *testing.F) {
	f.Add(`{"annotations":{"a":"1"},"labels":{"b":"2"}}`, false)
	f.Add(`{"annotations":{"reflector.v1.k8s.emberstack.com/reflection-allowed":"true"}}`, true)
	f.Add(`{"Annotations":{"x":null},"annotations":{"Trustglass.IO/x":""}}`, false)
	f.Add(`[[[[[[[[`, false)
	f.Fuzz(func(t *testing.T, text string, allow bool) {
		got, err := parseTemplate(text, allow)
		if got == nil {
			return
		}
		if err != nil {
			t.Fatal("a template beside an error")
		}
		forbidden := []string{"cert-manager.io/", "controller.cert-manager.io/", "trustglass.io/"}
		if !allow {
			forbidden = append(forbidden, "reflector.v1.k8s.emberstack.com/", "replicator.v1.mittwald.de/", "kubed.appscode.com/")
		}
		for _, key := range slices.Concat(slices.Collect(maps.Keys(got.Annotations)), slices.Collect(maps.Keys(got.Labels))) {
			if slices.ContainsFunc(forbidden, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(key), prefix) }) {
				t.Fatalf("%q went through", key)
			}
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseTemplate(string(again), allow)
		if len(again) <= maxValue && (err != nil || cmp.Diff(got, back) != "") {
			t.Fatalf("it does not come back: %v", err)
		}
	})
}
