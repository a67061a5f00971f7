package reflector

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestStrangersStay(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, away, free := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		stranger := create(t, build(kind, away, "shared", map[string]string{"note": "mine"}, map[string]string{"mine": "x"}))
		source := create(t, build(kind, home, "shared", annotated(away, free), map[string]string{"a": "1"}))
		eventuallyHolds(t, source, free, map[string]string{"a": "1"})
		eventuallyTold(t, source, Conflict, "not mirrored to "+away)
		// A namespace event is where Reflector overwrites and later deletes what is not its own.
		label(t, away, map[string]string{"touched": "yes"})
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		eventuallyHolds(t, source, free, map[string]string{"a": "2"})
		settled(t)
		stays(t, stranger, away, map[string]string{"mine": "x"})

		remove(t, stranger)
		eventuallyHolds(t, source, away, map[string]string{"a": "2"})

		// A mirror whose annotations a person takes off is that person's.
		edit(t, fetch(t, source, away), func(o client.Object) { o.SetAnnotations(nil) })
		remove(t, source)
		eventuallyHolds(t, source, free, nil)
		settled(t)
		stays(t, source, away, map[string]string{"a": "2"})
	})
}

func TestTwoSourcesOfOneName(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		one, two, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		first := create(t, build(kind, one, "shared", annotated(two, away), map[string]string{"from": "one"}))
		eventuallyHolds(t, first, away, map[string]string{"from": "one"})
		eventuallyHolds(t, first, two, map[string]string{"from": "one"})
		annotate(t, first, annotationAllowedNames, away)
		eventuallyHolds(t, first, two, nil)

		second := create(t, build(kind, two, "shared", annotated(one, away), map[string]string{"from": "two"}))
		annotate(t, first, annotationAllowedNames, two+","+away)
		eventuallyTold(t, first, Conflict, two)
		eventuallyTold(t, second, Conflict, "a "+kind+" named shared")
		settled(t)
		stays(t, first, one, map[string]string{"from": "one"})
		stays(t, first, two, map[string]string{"from": "two"})
		stays(t, first, away, map[string]string{"from": "one"})

		remove(t, first) // the place is free now, and the other one takes it
		eventuallyHolds(t, second, away, map[string]string{"from": "two"})
		eventuallyHolds(t, second, one, map[string]string{"from": "two"})
	})
}

func TestBadInputFreezesOneSource(t *testing.T) {
	start(t)
	for _, tc := range []struct {
		key, value string
		reason     Reason
		text       string
	}{
		{annotationAllowedNames, "*", InvalidPattern, "write .*"},
		{annotationAutoNames, "(", InvalidPattern, annotationAutoNames},
		{annotationAllowedSelector, "env in (prod", InvalidSelector, "not a label selector"},
		{annotationAutoSelector, ",", InvalidSelector, annotationAutoSelector},
		{annotationAllowed, "ture", InvalidValue, "neither true nor false"},
		{annotationAuto, "1", InvalidValue, "neither true nor false"},
	} {
		t.Run(tc.key[len(prefix):]+"="+tc.value, func(t *testing.T) {
			forKinds(t, func(t *testing.T, kind string) {
				home, away, later := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
				good := annotated(away, later)
				source := create(t, build(kind, home, "bad", with(good, annotationAutoNames, away), map[string]string{"a": "1"}))
				other := create(t, build(kind, home, "good", good, map[string]string{"a": "1"}))
				eventuallyHolds(t, source, away, map[string]string{"a": "1"})
				edit(t, source, func(o client.Object) {
					o.SetAnnotations(with(good, tc.key, tc.value))
					setData(o, map[string]string{"a": "2"})
				})
				eventuallyTold(t, source, tc.reason, tc.text)
				edit(t, other, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
				eventuallyHolds(t, other, away, map[string]string{"a": "2"})
				settled(t)
				stays(t, source, away, map[string]string{"a": "1"})
				stays(t, source, later, nil)
				edit(t, source, func(o client.Object) { o.SetAnnotations(good) })
				eventuallyHolds(t, source, later, map[string]string{"a": "2"})
				eventuallyHolds(t, source, away, map[string]string{"a": "2"})
			})
		})
	}
}

func TestRefusedTypes(t *testing.T) {
	start(t)
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "robot"}})
	for name, typ := range map[string]corev1.SecretType{
		"robot-token": corev1.SecretTypeServiceAccountToken,
		"join":        corev1.SecretTypeBootstrapToken,
		"release":     "helm.sh/release.v1",
	} {
		a := with(annotated(away), corev1.ServiceAccountNameKey, "robot")
		source := build(KindSecret, home, name, a, map[string]string{"a": "1"}).(*corev1.Secret)
		source.Type = typ
		create(t, source)
		eventuallyTold(t, source, RefusedType, string(typ))
		settled(t)
		stays(t, source, away, nil)
	}
}

func TestSystemNamespacesConsent(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		system := namespaced(t, "kube-"+home, nil, nil)
		source := create(t, build(kind, home, home, annotated(system.Name, testenv.DaemonNamespace, "kube-system"), map[string]string{"a": "1"}))
		eventuallyTold(t, source, NamespaceExcluded, LabelAccept)
		settled(t)
		stays(t, source, system.Name, nil)
		stays(t, source, "kube-system", nil)
		stays(t, source, testenv.DaemonNamespace, nil)

		label(t, system.Name, map[string]string{LabelAccept: "true"})
		eventuallyHolds(t, source, system.Name, map[string]string{"a": "1"})
		label(t, system.Name, nil) // what is there stays, and is not written any more
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		settled(t)
		stays(t, source, system.Name, map[string]string{"a": "1"})

		direct := create(t, build(kind, system.Name, "asked-for", reflecting(source), nil)) // asking is consent
		eventuallyHolds(t, direct, system.Name, map[string]string{"a": "2"})
		remove(t, source)
		eventuallyHolds(t, source, system.Name, nil)
	})
}

func TestDeclinedMirrorsStayAway(t *testing.T) {
	start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", annotated(away), map[string]string{"a": "1"}))
		eventuallyHolds(t, source, away, map[string]string{"a": "1"})
		remove(t, fetch(t, source, away)) // comes back: nobody has said that it should not
		eventuallyHolds(t, source, away, map[string]string{"a": "1"})

		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: away}}
		annotate(t, ns, AnnotationDecline, "other, shared")
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		eventuallyHolds(t, source, away, map[string]string{"a": "2"}) // while it is there it is kept up to date
		remove(t, fetch(t, source, away))
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "3"}) })
		settled(t)
		stays(t, source, away, nil)
		annotate(t, ns, AnnotationDecline, "other")
		eventuallyHolds(t, source, away, map[string]string{"a": "3"})
	})
}

func TestOneNamespaceThatRefuses(t *testing.T) {
	start(t)
	home, full, free := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: full, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	create(t, quota)
	testenv.Eventually(t, "the quota to hold", func() error {
		obj := build(KindSecret, full, "try", nil, nil)
		if err := testenv.Admin().Create(ctx, obj, client.DryRunAll); err == nil {
			return errStale
		}
		return nil
	})
	source := create(t, build(KindSecret, home, "shared", annotated(full, free), map[string]string{"a": "1"}))
	eventuallyHolds(t, source, free, map[string]string{"a": "1"})
	eventuallyTold(t, source, reasonFailed, "exceeded quota")
	edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
	eventuallyHolds(t, source, free, map[string]string{"a": "2"})
	remove(t, quota)
	eventuallyHolds(t, source, full, map[string]string{"a": "2"})
}
