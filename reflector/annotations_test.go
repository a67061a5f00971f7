package reflector

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func meta(namespace, name string, annotations map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations}}
}

func TestParseSource(t *testing.T) {
	type want struct {
		Allowed, Auto bool
		Problems      []Reason
	}
	for _, tc := range []struct {
		reason      string
		annotations map[string]string
		want        want
	}{
		{"nothing is allowed unless somebody says so", nil, want{}},
		{"auto needs allowed", map[string]string{annotationAuto: "true"}, want{}},
		{"both", map[string]string{annotationAllowed: "true", annotationAuto: "true"}, want{Allowed: true, Auto: true}},
		{"any case, white space around", map[string]string{annotationAllowed: " TRUE\n", annotationAuto: "tRue"}, want{Allowed: true, Auto: true}},
		{"blank is absent", map[string]string{annotationAllowed: "  "}, want{}},
		{"1 and yes are not booleans, and are reported", map[string]string{annotationAllowed: "1", annotationAuto: "yes"}, want{Problems: []Reason{InvalidValue, InvalidValue}}},
		{"a mirror does not push but may be pulled from", map[string]string{annotationReflects: "a/b", annotationAllowed: "true", annotationAuto: "true"}, want{Allowed: true}},
		{"a bare name makes it a mirror, of nothing", map[string]string{annotationReflects: "b", annotationAllowed: "true", annotationAuto: "true"}, want{Allowed: true, Problems: []Reason{InvalidReference}}},
		{"three parts are no mirror, and are reported", map[string]string{annotationReflects: "a/b/c", annotationAllowed: "true", annotationAuto: "true"}, want{Allowed: true, Auto: true, Problems: []Reason{InvalidReference}}},
		{"every problem is reported", map[string]string{annotationAllowedNames: "*", annotationAutoSelector: "!"}, want{Problems: []Reason{InvalidPattern, InvalidSelector}}},
	} {
		s := ParseSource(meta("ns", "n", tc.annotations))
		got := want{Allowed: s.Allowed, Auto: s.Auto}
		for _, p := range s.Problems {
			got.Problems = append(got.Problems, p.Reason)
			if !strings.Contains(p.Note, prefix) {
				t.Errorf("%s: the note names no annotation: %s", tc.reason, p.Note)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestParseReflects(t *testing.T) {
	for _, tc := range []struct {
		reason, value string
		want          types.NamespacedName
		mirror, fails bool
	}{
		{"absent", "", types.NamespacedName{}, false, false},
		{"blank is absent", " \t", types.NamespacedName{}, false, false},
		{"namespace and name", "a/b.c", types.NamespacedName{Namespace: "a", Name: "b.c"}, true, false},
		{"each half is trimmed", " a / b ", types.NamespacedName{Namespace: "a", Name: "b"}, true, false},
		{"a bare name is a mirror without a namespace", "b", types.NamespacedName{}, true, true},
		{"three parts are not a mirror", "a/b/c", types.NamespacedName{}, false, true},
		{"an empty half is not a mirror", "a/", types.NamespacedName{}, false, true},
		{"the other one", " /b", types.NamespacedName{}, false, true},
		{"what can't be a name is never looked up", "a/..", types.NamespacedName{}, true, true},
		{"nor what can't be a namespace", "a.b/c", types.NamespacedName{}, true, true},
		{"itself", "ns/n", types.NamespacedName{}, true, true},
		{"too long to look at", strings.Repeat("a", maxReference+1), types.NamespacedName{}, false, true},
	} {
		got, mirror, err := parseReflects(meta("ns", "n", map[string]string{annotationReflects: tc.value}))
		if got != tc.want || mirror != tc.mirror || (err != nil) != tc.fails {
			t.Errorf("%s: parseReflects(%q) = %v, %t, %v", tc.reason, tc.value, got, mirror, err)
		}
	}
}

func TestKeeps(t *testing.T) {
	for _, tc := range []struct {
		reason string
		obj    *metav1.PartialObjectMetadata
		want   bool
	}{
		{"a namespace", meta("", "ns", nil), true},
		{"an unrelated object", meta("ns", "n", map[string]string{"cert-manager.io/x": "y"}), false},
		{"a source", meta("ns", "n", map[string]string{annotationAllowed: "true"}), true},
		{"a mirror", meta("ns", "n", map[string]string{annotationReflects: "a/b"}), true},
	} {
		if got := Keeps(tc.obj); got != tc.want {
			t.Errorf("%s: Keeps = %t", tc.reason, got)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("true", "^allowed-.*,a|ab", "env in (a,b),!c", "ns/name")
	f.Add(" TRUE ", "^(?!(?:default|kube-system)$).*", "k!=v", "name")
	f.Add("1", "*", ",,", "a/b/c")
	f.Add("", "(?<n>a)\\k<n>{1,3}", "env in ()", "/")
	f.Fuzz(func(t *testing.T, boolean, names, selector, reflects string) {
		obj := meta("ns", "n", map[string]string{
			annotationAllowed: boolean, annotationAuto: boolean, annotationReflects: reflects,
			annotationAllowedNames: names, annotationAutoNames: names, annotationAllowedSelector: selector, annotationAutoSelector: selector,
		})
		s := ParseSource(obj)
		if s.Auto && !s.Allowed {
			t.Error("pushes without being allowed to")
		}
		for _, p := range s.Problems {
			if len(p.Note) > 2000 {
				t.Errorf("a note of %d bytes", len(p.Note))
			}
		}
		for _, ns := range []string{"default", "kube-system", strings.Repeat("a", 63)} {
			_, _ = placeOf(s, meta("", ns, nil), "own", nil)
		}
		objectOf(obj)
	})
}
