package reflector

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestDirectReflect_StopsUpdating_WhenNamespaceLabelsNoLongerMatchSelector(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		pull := testenv.Namespace(t, map[string]string{home: "prod"})
		a := map[string]string{annotationAllowed: "true", annotationAllowedSelector: home + "=prod"}
		source := create(t, build(kind, home, "shared", a, map[string]string{"a": "1"}))
		direct := create(t, build(kind, pull, "pulled", reflecting(source), map[string]string{"a": "placeholder", "extra": "x"}))
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
		if got := fetch(t, direct, pull).GetAnnotations()[annotationAutoReflects]; got != "False" {
			t.Errorf("auto-reflects = %q", got)
		}
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		eventuallyHolds(t, direct, pull, map[string]string{"a": "2"})

		label(t, pull, map[string]string{home: "dev"})
		eventuallyTold(t, direct, NotPermitted, "does not permit")
		eventuallyTold(t, source, NotPermitted, pull)
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "3"}) })
		settled(t)
		stays(t, direct, pull, map[string]string{"a": "2"})

		label(t, pull, map[string]string{home: "prod"})
		eventuallyHolds(t, direct, pull, map[string]string{"a": "3"})
		count := 0
		for _, e := range told(t, direct) {
			if e.Reason == string(NotPermitted) {
				count += int(e.Count)
			}
		}
		if count != 1 {
			t.Errorf("NotPermitted was reported %d times", count)
		}
	})
}

func TestDirectMirrorOfWhatDidNotAllowIt(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "private", nil, map[string]string{"a": "1"}))
		direct := create(t, build(kind, pull, "thief", reflecting(source), nil))
		eventuallyTold(t, direct, NotPermitted, "does not permit")
		stays(t, direct, pull, map[string]string{})
		annotate(t, source, annotationAllowed, "true")
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
	})
}

func TestDirectMirrorKeepsItsType(t *testing.T) {
	start(t)
	home, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	source := build(KindSecret, home, "shared", map[string]string{annotationAllowed: "true"}, map[string]string{"username": "u"}).(*corev1.Secret)
	source.Type = corev1.SecretTypeBasicAuth
	create(t, source)
	direct := create(t, build(KindSecret, pull, "mine", reflecting(source), nil))
	eventuallyHolds(t, direct, pull, map[string]string{"username": "u"})
	if got := fetch(t, direct, pull).(*corev1.Secret).Type; got != corev1.SecretTypeOpaque {
		t.Errorf("type = %s", got)
	}
	// Drift is noticed although type and source's type differ, and equal data is not written again.
	edit(t, fetch(t, direct, pull), func(o client.Object) { setData(o, map[string]string{"username": "x"}) })
	eventuallyHolds(t, direct, pull, map[string]string{"username": "u"})
}

func TestMirrorBeforeItsSource(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := build(kind, home, "late", map[string]string{annotationAllowed: "true"}, map[string]string{"a": "1"})
		direct := create(t, build(kind, pull, "early", reflecting(source), map[string]string{"a": "old"}))
		eventuallyTold(t, direct, SourceNotFound, home+"/late does not exist")
		stays(t, direct, pull, map[string]string{"a": "old"})
		create(t, source)
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
	})
}

func TestReferencesThatNameNothing(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		pull := testenv.Namespace(t, nil)
		for name, ref := range map[string]string{"bare": "name", "three": "a/b/c", "empty": "a/", "odd": "A b/c"} {
			obj := create(t, build(kind, pull, name, map[string]string{annotationReflects: ref}, map[string]string{"a": "1"}))
			eventuallyTold(t, obj, InvalidReference, "namespace")
			stays(t, obj, pull, map[string]string{"a": "1"})
		}
	})
}

func TestMirrorOfAMirror(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, middle, end := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "first", map[string]string{annotationAllowed: "true"}, map[string]string{"a": "1"}))
		second := create(t, build(kind, middle, "second", reflecting(source, annotationAllowed, "true", annotationAuto, "true", annotationAutoNames, end), nil))
		third := create(t, build(kind, end, "third", reflecting(second), nil))
		eventuallyHolds(t, third, end, map[string]string{"a": "1"})
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		eventuallyHolds(t, third, end, map[string]string{"a": "2"})
		settled(t)
		stays(t, second, end, nil) // a mirror does not push
	})
}

func TestForcedCopy(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", map[string]string{annotationAllowed: "true"}, map[string]string{"a": "1"}))
		direct := create(t, build(kind, pull, "pulled", reflecting(source), nil))
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
		// What a tool does that applies its manifest again: placeholder data, and an empty version.
		edit(t, fetch(t, direct, pull), func(o client.Object) {
			setData(o, map[string]string{"a": ""})
			o.SetAnnotations(with(o.GetAnnotations(), annotationReflectedVersion, ""))
		})
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
	})
}

func TestDirectMirrorChangesItsSource(t *testing.T) {
	start(t)
	home, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	allowed := map[string]string{annotationAllowed: "true"}
	one := create(t, build(KindSecret, home, "one", allowed, map[string]string{"a": "1"}))
	two := create(t, build(KindSecret, home, "two", allowed, map[string]string{"a": "2"}))
	direct := create(t, build(KindSecret, pull, "pulled", reflecting(one), nil))
	eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
	annotate(t, fetch(t, direct, pull), annotationReflects, " "+home+" / two ")
	eventuallyHolds(t, direct, pull, map[string]string{"a": "2"})
	edit(t, one, func(o client.Object) { setData(o, map[string]string{"a": "x"}) })
	edit(t, two, func(o client.Object) { setData(o, map[string]string{"a": "3"}) })
	eventuallyHolds(t, direct, pull, map[string]string{"a": "3"})
}
