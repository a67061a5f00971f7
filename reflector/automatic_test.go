package reflector

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// Names in this file that begin with AutoReflect, DirectReflect or WatchEvents are those of emberstack Reflector's own
// integration tests, whose scenarios they repeat.

func TestAutoReflect_To_AllowedNamespaces(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		namespaced(t, "allowed-1-"+home, nil, nil)
		namespaced(t, "allowed-2-"+home, nil, nil)
		namespaced(t, "other-1-"+home, nil, nil)
		namespaced(t, "not-allowed-2-"+home, nil, nil)
		obj := build(kind, home, "shared", annotated("^allowed-.*-"+home), map[string]string{"a": "1", "b": ""})
		obj.SetLabels(map[string]string{"app.kubernetes.io/instance": "x"})
		source := create(t, obj)

		eventuallyHolds(t, source, "allowed-1-"+home, map[string]string{"a": "1", "b": ""})
		eventuallyHolds(t, source, "allowed-2-"+home, map[string]string{"a": "1", "b": ""})
		settled(t)
		stays(t, source, "other-1-"+home, nil)
		stays(t, source, "not-allowed-2-"+home, nil)

		mirror := fetch(t, source, "allowed-1-"+home)
		at, err := time.Parse(time.RFC3339, mirror.GetAnnotations()[annotationReflectedAt])
		if err != nil || time.Since(at) > time.Minute {
			t.Errorf("reflected-at = %v, %v", at, err)
		}
		want := reflecting(source, annotationAutoReflects, "True", annotationReflectedVersion, source.GetResourceVersion(),
			annotationReflectedAt, mirror.GetAnnotations()[annotationReflectedAt], AnnotationHash, contentHash(client.ObjectKeyFromObject(source), payloadOf(source)))
		if diff := cmp.Diff(want, mirror.GetAnnotations()); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
		if len(mirror.GetLabels())+len(mirror.GetOwnerReferences())+len(mirror.GetFinalizers()) > 0 {
			t.Errorf("labels, owners or finalizers were copied: %v", mirror)
		}
		eventuallyTold(t, source, reasonReflected, "reflected to 2 of 2 namespaces")
	})
}

func TestAutoReflect_CopiesTypeAndBinaryData(t *testing.T) {
	start(t)
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	secret := create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "basic", Annotations: annotated(away)},
		Type:       corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("u"), "password": {0, 0xff}},
		Immutable: ptr.To(true),
	})
	config := create(t, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "both", Annotations: annotated(away)},
		Data:       map[string]string{"text": "t"}, BinaryData: map[string][]byte{"bin": {0, 0xff}},
	})
	eventuallyHolds(t, secret, away, map[string]string{"username": "u", "password": "\x00\xff"})
	eventuallyHolds(t, config, away, map[string]string{"text": "t", "binary bin": "\x00\xff"})
	mirror := fetch(t, secret, away).(*corev1.Secret)
	if mirror.Type != corev1.SecretTypeBasicAuth || mirror.Immutable != nil {
		t.Errorf("type %s, immutable %v", mirror.Type, mirror.Immutable)
	}
	edit(t, config.(*corev1.ConfigMap), func(c *corev1.ConfigMap) { c.BinaryData = nil; c.Data = map[string]string{"new": "n"} })
	eventuallyHolds(t, config, away, map[string]string{"new": "n"})
}

func TestAutoReflect_To_NewNamespaces(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", annotated(home+"-new-.*"), map[string]string{"a": "1"}))
		settled(t)
		ns := namespaced(t, home+"-new-1", nil, nil)
		eventuallyHolds(t, source, ns.Name, map[string]string{"a": "1"})
		eventuallyTold(t, source, reasonReflected, "reflected to 1 of 1")

		remove(t, ns)
		testenv.Eventually(t, "the namespace to go", func() error { return gone(ns) })
		namespaced(t, ns.Name, nil, nil)
		eventuallyHolds(t, source, ns.Name, map[string]string{"a": "1"})
	})
}

func TestAutoReflect_To_NamespacesMatchingLabelSelector(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		prod, dev := testenv.Namespace(t, map[string]string{home: "prod"}), testenv.Namespace(t, map[string]string{home: "dev"})
		a := map[string]string{annotationAllowed: "true", annotationAuto: "True", annotationAllowedSelector: home + " in (prod, stage)"}
		source := create(t, build(kind, home, "shared", a, map[string]string{"a": "1"}))
		eventuallyHolds(t, source, prod, map[string]string{"a": "1"})
		later := testenv.Namespace(t, map[string]string{home: "stage"})
		eventuallyHolds(t, source, later, map[string]string{"a": "1"})
		settled(t)
		stays(t, source, dev, nil)
	})
}

func TestAutoReflect_UpdatesReflections_WhenNamespaceLabelsChange(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		ns := testenv.Namespace(t, map[string]string{home: "dev"})
		a := map[string]string{annotationAllowed: "true", annotationAuto: "true", annotationAutoSelector: home + "=prod"}
		source := create(t, build(kind, home, "shared", a, map[string]string{"a": "1"}))
		settled(t)
		stays(t, source, ns, nil)
		label(t, ns, map[string]string{home: "prod"})
		eventuallyHolds(t, source, ns, map[string]string{"a": "1"})
		label(t, ns, map[string]string{home: "dev"})
		eventuallyHolds(t, source, ns, nil)
	})
}

func TestAutoReflect_Remove_ReflectionsWhenResourceDeleted(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, auto, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := build(kind, home, "shared", with(annotated(auto, pull), annotationAutoNames, auto), map[string]string{"a": "1"})
		direct := create(t, build(kind, pull, "pulled", reflecting(source), nil))
		create(t, source)
		eventuallyHolds(t, source, auto, map[string]string{"a": "1"})
		eventuallyHolds(t, direct, pull, map[string]string{"a": "1"})
		remove(t, source)
		eventuallyHolds(t, source, auto, nil)
		eventuallyTold(t, direct, SourceNotFound, "does not exist")
		stays(t, direct, pull, map[string]string{"a": "1"})
	})
}

func TestWatchEvents_FromExcludedNamespace_AreNotReflected(t *testing.T) {
	home, pull, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	start(t, func(r *Reconciler) { r.ExcludedNamespaces = []string{strings.ToUpper(home[:4]) + "*" + home[4:], pull} })
	excluded := create(t, build(KindSecret, home, "excluded", annotated(away), map[string]string{"a": "1"}))
	source := create(t, build(KindSecret, away, "source", annotated(pull), map[string]string{"a": "1"}))
	direct := create(t, build(KindSecret, pull, "direct", reflecting(source), nil))
	eventuallyHolds(t, source, pull, map[string]string{"a": "1"}) // AutoReflect_IntoExcludedTargetNamespace_StillReflects
	settled(t)
	stays(t, excluded, away, nil)
	stays(t, direct, pull, map[string]string{})
}

func TestAutoReflect_DoesNotDeleteSource_WhenSourceNamespaceMatchesOwnPattern(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, map[string]string{"stage": "prod"})
		label(t, home, map[string]string{home: "yes"})
		a := map[string]string{annotationAllowed: "true", annotationAuto: "true", annotationAutoNames: home, annotationAutoSelector: home + "=yes"}
		source := create(t, build(kind, home, "shared", a, map[string]string{"a": "1"}))
		settled(t)
		label(t, home, nil)
		annotate(t, source, annotationAutoNames, "nothing")
		settled(t)
		stays(t, source, home, map[string]string{"a": "1"})
		annotate(t, source, annotationReflects, home+"/shared", annotationAutoReflects, "True", annotationAllowed, "false")
		eventuallyTold(t, source, InvalidReference, "names itself")
		settled(t)
		stays(t, source, home, map[string]string{"a": "1"})
	})
}

func TestUpdatesAndVanishedKeysReachMirrors(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, one, two := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", annotated(one, two), map[string]string{"a": "1", "b": "2"}))
		eventuallyHolds(t, source, one, map[string]string{"a": "1", "b": "2"})
		edit(t, fetch(t, source, one), func(o client.Object) {
			o.SetLabels(map[string]string{"mine": "x"})
			o.SetFinalizers([]string{"example.com/mine"})
		})
		t.Cleanup(func() { edit(t, fetch(t, source, one), func(o client.Object) { o.SetFinalizers(nil) }) })
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "new", "c": "3"}) })
		eventuallyHolds(t, source, one, map[string]string{"a": "new", "c": "3"})
		eventuallyHolds(t, source, two, map[string]string{"a": "new", "c": "3"})
		edit(t, source, func(o client.Object) { setData(o, nil) })
		eventuallyHolds(t, source, one, map[string]string{})
		if got := fetch(t, source, one); got.GetLabels()["mine"] != "x" || len(got.GetFinalizers()) != 1 {
			t.Errorf("what a person put on a mirror is gone: %v, %v", got.GetLabels(), got.GetFinalizers())
		}
	})
}

func TestNarrowing(t *testing.T) {
	start(t)
	for _, tc := range []struct {
		reason string
		narrow func(one, two string) []string
		keeps  bool // the second mirror
	}{
		{"the allowed list is narrowed", func(one, _ string) []string { return []string{annotationAllowedNames, one} }, false},
		{"the auto list is narrowed", func(one, _ string) []string { return []string{annotationAutoNames, one} }, false},
		{"a list without items matches nothing, but the other one names the first", func(one, _ string) []string {
			return []string{annotationAutoNames, ",", annotationAutoSelector, "kubernetes.io/metadata.name=" + one}
		}, false},
		{"a list that says the same changes nothing", func(one, two string) []string { return []string{annotationAutoNames, two + "," + one} }, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			forKinds(t, func(t *testing.T, kind string) {
				home, one, two := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
				data := map[string]string{"a": "1"}
				source := create(t, build(kind, home, "shared", annotated(one, two), data))
				eventuallyHolds(t, source, one, data)
				eventuallyHolds(t, source, two, data)
				annotate(t, source, tc.narrow(one, two)...)
				if !tc.keeps {
					eventuallyHolds(t, source, two, nil)
				}
				settled(t)
				stays(t, source, one, data)
			})
		})
	}
}

func TestSwitchingOffRemovesAutomaticMirrors(t *testing.T) {
	start(t)
	for _, key := range []string{annotationAuto, annotationAllowed} {
		forKinds(t, func(t *testing.T, kind string) {
			home, auto, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
			data := map[string]string{"a": "1"}
			source := create(t, build(kind, home, "shared", with(annotated(auto, pull), annotationAutoNames, auto), data))
			direct := create(t, build(kind, pull, "shared", reflecting(source), nil))
			eventuallyHolds(t, source, auto, data)
			eventuallyHolds(t, direct, pull, data)
			annotate(t, source, key, "false")
			eventuallyHolds(t, source, auto, nil)
			settled(t)
			stays(t, direct, pull, data)
			annotate(t, source, key, "true")
			eventuallyHolds(t, source, auto, data)
		})
	}
}

func TestSourceRecreatedWithAnotherType(t *testing.T) {
	start(t)
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	source := create(t, build(KindSecret, home, "shared", annotated(away), map[string]string{"username": "u"})).(*corev1.Secret)
	eventuallyHolds(t, source, away, map[string]string{"username": "u"})
	remove(t, source)
	again := build(KindSecret, home, "shared", annotated(away), map[string]string{"username": "v"}).(*corev1.Secret)
	again.Type = corev1.SecretTypeBasicAuth
	create(t, again)
	eventuallyHolds(t, again, away, map[string]string{"username": "v"})
	if got := fetch(t, again, away).(*corev1.Secret).Type; got != corev1.SecretTypeBasicAuth {
		t.Errorf("type = %s", got)
	}
}

func TestMirrorMadeImmutable(t *testing.T) {
	start(t)
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	source := create(t, build(KindSecret, home, "shared", annotated(away), map[string]string{"a": "1"}))
	eventuallyHolds(t, source, away, map[string]string{"a": "1"})
	edit(t, fetch(t, source, away).(*corev1.Secret), func(s *corev1.Secret) { s.Immutable = ptr.To(true) })
	edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
	eventuallyHolds(t, source, away, map[string]string{"a": "2"})

	pull := testenv.Namespace(t, nil)
	fixed := build(KindSecret, pull, "fixed", reflecting(source), map[string]string{"mine": "x"}).(*corev1.Secret)
	fixed.Immutable = ptr.To(true)
	create(t, fixed)
	annotate(t, source, annotationAllowedNames, away+","+pull, annotationAutoNames, away)
	eventuallyTold(t, source, reasonFailed, "immutable")
	stays(t, fixed, pull, map[string]string{"mine": "x"})
}
