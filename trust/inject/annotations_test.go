package inject

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestParseRequest(t *testing.T) {
	at := types.NamespacedName{Namespace: "ns", Name: "a.b"}
	for _, tc := range []struct {
		reason      string
		annotations map[string]string
		want        Ref
		refused     string // part of the message
	}{
		{reason: "no annotation asks for nothing"},
		{reason: "a Certificate", annotations: map[string]string{annotationFromCertificate: "ns/a.b"}, want: Ref{fromCertificate, at}},
		{reason: "a Secret", annotations: map[string]string{annotationFromSecret: "ns/a.b"}, want: Ref{fromSecret, at}},
		{reason: "the API server's CA", annotations: map[string]string{annotationFromAPIServer: "true"}, want: Ref{Kind: fromAPIServer}},
		{reason: "false switches off", annotations: map[string]string{annotationFromAPIServer: "false"}},
		{
			reason:      "a Secret counts before a Certificate",
			annotations: map[string]string{annotationFromSecret: "ns/a.b", annotationFromCertificate: "x/y", annotationFromAPIServer: "true"},
			want:        Ref{fromSecret, at},
		},
		{
			reason:      "a Certificate counts before the API server",
			annotations: map[string]string{annotationFromCertificate: "ns/a.b", annotationFromAPIServer: "true"},
			want:        Ref{fromCertificate, at},
		},
		{
			reason:      "an annotation that cannot be read does not give way to the next",
			annotations: map[string]string{annotationFromSecret: "a.b", annotationFromCertificate: "ns/a.b"},
			refused:     `cert-manager.io/inject-ca-from-secret is "a.b" and must be NAMESPACE/NAME of a Secret`,
		},
		{reason: "a namespace is needed", annotations: map[string]string{annotationFromCertificate: "serving-certs"}, refused: "must be NAMESPACE/NAME of a Certificate"},
		{reason: "an empty namespace is none", annotations: map[string]string{annotationFromCertificate: "/a"}, refused: `"" is not the name of a namespace`},
		{reason: "an empty name is none", annotations: map[string]string{annotationFromCertificate: "ns/"}, refused: `"" is not the name of one`},
		{reason: "one slash, no more", annotations: map[string]string{annotationFromCertificate: "ns/a/b"}, refused: `"a/b" is not the name of one`},
		{reason: "blanks are not cut off silently", annotations: map[string]string{annotationFromCertificate: "ns/a "}, refused: `"a " is not the name of one`},
		{reason: "messages stay short", annotations: map[string]string{annotationFromCertificate: strings.Repeat("x", 100_000)}, refused: "must be NAMESPACE/NAME"},
		{reason: "a word that is neither true nor false", annotations: map[string]string{annotationFromAPIServer: "yes"}, refused: `is "yes"; set it to "true"`},
	} {
		got, refusal := ParseRequest(tc.annotations)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		switch {
		case (refusal != nil) != (tc.refused != ""):
			t.Errorf("%s: refusal is %+v", tc.reason, refusal)
		case refusal != nil && (!strings.Contains(refusal.Message, tc.refused) || len(refusal.Message) > 400):
			t.Errorf("%s: message %q, want %q in it", tc.reason, refusal.Message, tc.refused)
		}
	}
}

func TestKeeps(t *testing.T) {
	for _, tc := range []struct {
		reason, annotation string
		want               bool
	}{
		{"from a Certificate", annotationFromCertificate, true},
		{"from a Secret", annotationFromSecret, true},
		{"from the API server", annotationFromAPIServer, true},
		{"nothing of ours", "cert-manager.io/cluster-issuer", false},
	} {
		obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{tc.annotation: ""}}}
		if got := Keeps(obj); got != tc.want {
			t.Errorf("%s: Keeps is %v", tc.reason, got)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{"ns/name", "", "/", "ns/", "a/b/c", "true", "NS/Name", "ns/name\x00", strings.Repeat("a", 70) + "/b"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, secret, certificate, apiServer string) {
		ref, refusal := ParseRequest(map[string]string{annotationFromSecret: secret, annotationFromCertificate: certificate, annotationFromAPIServer: apiServer})
		if refusal != nil {
			if ref != (Ref{}) || len(refusal.Message) > 2000 {
				t.Errorf("refused with %+v and %d bytes", ref, len(refusal.Message))
			}
			return
		}
		if ref.Kind != fromSecret || ref.Namespace+"/"+ref.Name != secret {
			t.Errorf("read %q as %+v", secret, ref)
		}
	})
}
