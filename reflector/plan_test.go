package reflector

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func at(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// The source of these tables is home/s at version 7 with content h. It pushes.
var home = at("home", "s")

func pushing(edit ...func(*Source)) *Source {
	s := &Source{Key: home, UID: "u", Version: "7", Allowed: true, Auto: true}
	for _, f := range edit {
		f(s)
	}
	return s
}

func pulling(s *Source) { s.Auto = false }

func places(list ...Place) map[string]Place {
	m := map[string]Place{}
	for _, p := range list {
		m[p.Namespace] = p
	}
	return m
}

func open(namespace string, edit ...func(*Place)) Place {
	p := Place{Namespace: namespace, Allowed: true, Auto: true}
	for _, f := range edit {
		f(&p)
	}
	return p
}

// auto and pulled are mirrors that are up to date.
func auto(namespace string, edit ...func(*Object)) Object {
	o := Object{Key: at(namespace, "s"), UID: "m", Version: "70", Reflects: home, Auto: true, ReflectedVersion: "7", Hash: "h"}
	for _, f := range edit {
		f(&o)
	}
	return o
}

func pulled(namespace, name string, edit ...func(*Object)) Object {
	o := auto(namespace, edit...)
	o.Key.Name, o.Auto = name, false
	return o
}

func old(o *Object)      { o.ReflectedVersion, o.Hash = "6", "g" }
func hashless(o *Object) { o.ReflectedVersion, o.Hash = "6", "" }

func TestPlan(t *testing.T) {
	read := Content{Hash: "h"}
	stranger := Object{Key: at("a", "s"), UID: "x", Version: "9"}
	for _, tc := range []struct {
		reason string
		state  State
		want   []Action
	}{
		{"nothing there is a create, in every place that is wanted but its own",
			State{Source: pushing(), Places: places(open("b"), open("a"), open("home"), Place{Namespace: "c", Allowed: true}, Place{Namespace: "d", Auto: true})},
			[]Action{Create{"a"}, Create{"b"}}},
		{"a namespace on its way out takes nothing",
			State{Source: pushing(), Places: places(open("a", func(p *Place) { p.Terminating = true }))}, nil},
		{"a system namespace is asked first",
			State{Source: pushing(), Places: places(open("kube-x", func(p *Place) { p.Closed = true }))},
			[]Action{Refuse{Reason: NamespaceExcluded, At: at("kube-x", "s")}}},
		{"what is in a system namespace without consent is neither written nor removed",
			State{Source: pushing(), Places: places(open("kube-x", func(p *Place) { p.Closed = true })), Objects: []Object{auto("kube-x", old)}},
			[]Action{Refuse{Reason: NamespaceExcluded, At: at("kube-x", "s"), UID: "m"}}},
		{"but goes when the source no longer wants it there",
			State{Source: pushing(), Places: places(Place{Namespace: "kube-x", Closed: true}), Objects: []Object{auto("kube-x", old)}},
			[]Action{Delete{auto("kube-x", old)}}},
		{"a declined mirror that is absent stays absent",
			State{Source: pushing(), Places: places(open("a", func(p *Place) { p.Declined = true }))},
			[]Action{Refuse{Reason: Declined, At: at("a", "s")}}},
		{"a declined mirror that is there is served",
			State{Source: pushing(), Places: places(open("a", func(p *Place) { p.Declined = true })), Content: read, Objects: []Object{auto("a", old)}},
			[]Action{Update{Mirror: auto("a", old)}}},

		{"the version of the source says that a mirror is up to date, whatever its content's hash",
			State{Source: pushing(), Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.Hash = "" })}},
			[]Action{Keep{at("a", "s"), true}}},
		{"another version with the same content is up to date too",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.ReflectedVersion = "6" })}},
			[]Action{Keep{at("a", "s"), true}}},
		{"another version while the content is unknown: an update, to be decided again",
			State{Source: pushing(), Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.ReflectedVersion = "6" })}},
			[]Action{Update{Mirror: auto("a", func(o *Object) { o.ReflectedVersion = "6" })}}},
		{"other content is an update",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{auto("a", old)}},
			[]Action{Update{Mirror: auto("a", old)}}},
		{"a mirror of another tool, at another version, is compared first",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{auto("a", hashless)}},
			[]Action{Update{Mirror: auto("a", hashless), Compare: true}}},
		{"a mirror that somebody may have touched is compared first",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.Suspect = true })}},
			[]Action{Update{Mirror: auto("a", func(o *Object) { o.Suspect = true }), Compare: true}}},
		{"an empty version asks for a copy, with no questions",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.ReflectedVersion = ""; o.Suspect = true })}},
			[]Action{Update{Mirror: auto("a", func(o *Object) { o.ReflectedVersion = ""; o.Suspect = true })}}},
		{"a mirror that is being deleted is left to its end",
			State{Source: pushing(), Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.Terminating = true })}},
			[]Action{Keep{at("a", "s"), false}}},

		{"a place that is no longer wanted loses its mirror",
			State{Source: pushing(), Places: places(Place{Namespace: "a", Allowed: true}), Objects: []Object{auto("a")}},
			[]Action{Delete{auto("a")}}},
		{"turning auto off alone removes automatic mirrors and keeps serving direct ones",
			State{Source: pushing(pulling), Places: places(Place{Namespace: "a", Allowed: true}), Objects: []Object{auto("a"), pulled("a", "p")}},
			[]Action{Delete{auto("a")}, Keep{at("a", "p"), true}}},
		{"a namespace that is not in the cache yet says nothing about its labels",
			State{Source: pushing(), Places: places(), Objects: []Object{auto("a"), pulled("a", "p")}},
			[]Action{Keep{at("a", "s"), false}, Keep{at("a", "p"), false}}},
		{"nothing is ever deleted in the source's own namespace",
			State{Source: pushing(pulling), Places: places(open("home")), Objects: []Object{pulled("home", "p", func(o *Object) { o.Auto = true })}},
			[]Action{Keep{at("home", "p"), true}}},
		{"an automatic mirror under another name is somebody's copy of one",
			State{Source: nil, Objects: []Object{auto("a", func(o *Object) { o.Key.Name = "copy" })}},
			[]Action{Refuse{Reason: SourceNotFound, At: at("a", "copy"), UID: "m"}}},

		{"a stranger in the place of a mirror",
			State{Source: pushing(), Places: places(open("a")), Objects: []Object{stranger}},
			[]Action{Refuse{Reason: Conflict, At: at("a", "s"), UID: "x"}}},
		{"the mirror of another source in the place of a mirror",
			State{Source: pushing(), Places: places(open("a")), Objects: []Object{auto("a", func(o *Object) { o.Reflects = at("other", "s") })}},
			[]Action{Refuse{Reason: Conflict, At: at("a", "s"), UID: "m"}}},
		{"a direct mirror of this source in the place of an automatic one is served as it asks",
			State{Source: pushing(), Content: read, Places: places(open("a")), Objects: []Object{pulled("a", "s", old)}},
			[]Action{Update{Mirror: pulled("a", "s", old)}}},

		{"a direct mirror that is not permitted keeps its data",
			State{Source: pushing(pulling), Places: places(Place{Namespace: "a"}), Objects: []Object{pulled("a", "p", old)}},
			[]Action{Refuse{Reason: NotPermitted, At: at("a", "p"), UID: "m"}}},
		{"direct mirrors in an excluded namespace are not served, automatic ones are",
			State{Source: pushing(), Content: read, Places: places(open("a", func(p *Place) { p.Ignored = true })), Objects: []Object{pulled("a", "p", old), auto("a", old)}},
			[]Action{Update{Mirror: auto("a", old)}}},

		{"without a source automatic mirrors go and direct ones hear of it",
			State{Source: nil, Places: places(open("a")), Objects: []Object{auto("a"), pulled("b", "p"), auto("c", func(o *Object) { o.Terminating = true })}},
			[]Action{Delete{auto("a")}, Refuse{Reason: SourceNotFound, At: at("b", "p"), UID: "m"}, Keep{at("c", "s"), false}}},
		{"a bad pattern leaves all as it is, also what would go or be made",
			State{Source: pushing(func(s *Source) { s.Problems = []Problem{{InvalidPattern, "why"}} }), Content: read,
				Places: places(open("a"), Place{Namespace: "b"}), Objects: []Object{auto("b", old), pulled("a", "p", old)}},
			[]Action{Refuse{Reason: InvalidPattern, At: home, UID: "u", Note: "why"}, Keep{at("b", "s"), false}, Keep{at("a", "p"), false}}},
	} {
		tc.state.Key = home
		if diff := cmp.Diff(tc.want, plan(tc.state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestPlanRefusesTypes(t *testing.T) {
	for _, typ := range []corev1.SecretType{corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken, "helm.sh/release.v1"} {
		got := plan(State{Key: home, Source: pushing(), Content: Content{Hash: "h", Type: typ}, Places: places(open("a"), open("b")), Objects: []Object{auto("b", old)}})
		if len(got) != 2 || got[0].(Refuse).Reason != RefusedType || got[1] != (Keep{Mirror: at("b", "s")}) {
			t.Errorf("%s: %v", typ, got)
		}
	}
	if got := plan(State{Key: home, Source: &Source{Key: home}, Content: Content{Type: corev1.SecretTypeServiceAccountToken}}); got != nil {
		t.Errorf("a token that nobody wants mirrored: %v", got)
	}
}

func TestPlaceOf(t *testing.T) {
	list, _ := parsePatterns("a.*")
	source := pushing(func(s *Source) { s.AllowedIn = Scope{names: list} })
	ns := func(name string, labels, annotations map[string]string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations}}
	}
	consent := map[string]string{LabelAccept: "true"}
	for _, tc := range []struct {
		reason string
		ns     *metav1.PartialObjectMetadata
		want   Place
	}{
		{"allowed by name, and so auto", ns("ab", nil, nil), Place{Namespace: "ab", Allowed: true, Auto: true}},
		{"not allowed, and so not auto", ns("b", nil, nil), Place{Namespace: "b"}},
		{"closed by name", ns("kube-a", nil, nil), Place{Namespace: "kube-a", Closed: true}},
		{"opened by consent", ns("kube-a", consent, nil), Place{Namespace: "kube-a"}},
		{"the daemon's own is closed", ns("a-own", nil, nil), Place{Namespace: "a-own", Allowed: true, Auto: true, Closed: true}},
		{"declined by name", ns("a", nil, map[string]string{AnnotationDecline: "x, s"}), Place{Namespace: "a", Allowed: true, Auto: true, Declined: true}},
		{"declined whole", ns("a", nil, map[string]string{AnnotationDecline: "*"}), Place{Namespace: "a", Allowed: true, Auto: true, Declined: true}},
		{"another name declined", ns("a", nil, map[string]string{AnnotationDecline: "s2"}), Place{Namespace: "a", Allowed: true, Auto: true}},
		{"excluded", ns("a-skip", nil, nil), Place{Namespace: "a-skip", Allowed: true, Auto: true, Ignored: true}},
	} {
		got, err := placeOf(source, tc.ns, "a-own", globs{"*-skip"})
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
	source.Problems = []Problem{{Reason: InvalidPattern}}
	if got, _ := placeOf(source, ns("ab", nil, nil), "", nil); got.Allowed || got.Auto {
		t.Error("a frozen source is allowed somewhere")
	}
}

func TestObjectOf(t *testing.T) {
	for _, tc := range []struct {
		reason      string
		annotations map[string]string
		want        Object
	}{
		{"no mirror", map[string]string{annotationReflectedVersion: "3", annotationAutoReflects: "True"}, Object{}},
		{"a reference that can't be followed", map[string]string{annotationReflects: "name", annotationReflectedVersion: "3"}, Object{}},
		{"as Reflector writes it", map[string]string{annotationReflects: "home/s", annotationReflectedVersion: "3", annotationAutoReflects: "True"},
			Object{Reflects: home, ReflectedVersion: "3", Auto: true}},
		{"as old Reflectors wrote it", map[string]string{annotationReflects: "home/s", annotationReflectedVersion: ` "3" `, annotationAutoReflects: "false"},
			Object{Reflects: home, ReflectedVersion: "3"}},
		{"a hash without managed fields is a claim", map[string]string{annotationReflects: "home/s", AnnotationHash: "h"},
			Object{Reflects: home, Hash: "h", Suspect: true}},
	} {
		tc.want.Key = at("ns", "n")
		if diff := cmp.Diff(tc.want, objectOf(meta("ns", "n", tc.annotations))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestNewer(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{{"10", "9", true}, {"9", "10", false}, {"9", "9", false}, {"", "1", false}, {"x", "1", false}} {
		if got := newer(tc.a, tc.b); got != tc.want {
			t.Errorf("newer(%q, %q) = %t", tc.a, tc.b, got)
		}
	}
}
