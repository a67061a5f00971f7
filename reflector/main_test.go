package reflector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var ctx = context.Background()

// start runs the reflector for both kinds as the daemon does.
func start(t *testing.T, edit ...func(*Reconciler)) (stop func()) {
	t.Helper()
	return testenv.Manager(t, func(mgr ctrl.Manager) error {
		if err := IndexFields(ctx, mgr.GetFieldIndexer()); err != nil {
			return err
		}
		//lint:ignore SA1019 the events of core/v1 are those that kubectl describe shows
		events := mgr.GetEventRecorderFor("trustglass")
		for _, kind := range kinds {
			r := &Reconciler{
				Kind: kind, Client: mgr.GetClient(), Cache: mgr.GetCache(),
				Events: events, Namespace: testenv.DaemonNamespace,
			}
			for _, f := range edit {
				f(r)
			}
			if err := r.Setup(mgr); err != nil {
				return err
			}
		}
		return nil
	})
}

var kinds = []string{KindSecret, KindConfigMap}

// forKinds runs a test for Secrets and for ConfigMaps.
func forKinds(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { f(t, kind) })
	}
}

// faulty runs the reflector with a client that passes through hooks.
func faulty(funcs interceptor.Funcs) func(*Reconciler) {
	return func(r *Reconciler) {
		c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
		if err != nil {
			panic(err)
		}
		r.Client = interceptor.NewClient(c, funcs)
	}
}

// annotated are the annotations of a source that pushes into some namespaces.
func annotated(namespaces ...string) map[string]string {
	return map[string]string{annotationAllowed: "true", annotationAuto: "true", annotationAllowedNames: strings.Join(namespaces, ",")}
}

func with(a map[string]string, pairs ...string) map[string]string {
	if a = maps.Clone(a); a == nil {
		a = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		a[pairs[i]] = pairs[i+1]
	}
	return a
}

func reflecting(source client.Object, pairs ...string) map[string]string {
	return with(map[string]string{annotationReflects: client.ObjectKeyFromObject(source).String()}, pairs...)
}

// build returns an object of a kind with string data.
func build(kind, namespace, name string, annotations map[string]string, data map[string]string) client.Object {
	obj := newObject(kind)
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetAnnotations(annotations)
	setData(obj, data)
	return obj
}

func setData(obj client.Object, data map[string]string) {
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		o.Data = data
	case *corev1.Secret:
		o.Data = map[string][]byte{}
		for k, v := range data {
			o.Data[k] = []byte(v)
		}
	}
}

func dataOf(obj client.Object) map[string]string {
	out := map[string]string{}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		maps.Copy(out, o.Data)
		for k, v := range o.BinaryData {
			out["binary "+k] = string(v)
		}
	case *corev1.Secret:
		for k, v := range o.Data {
			out[k] = string(v)
		}
	}
	return out
}

func create(t *testing.T, obj client.Object) client.Object {
	t.Helper()
	if err := testenv.Admin().Create(ctx, obj); err != nil {
		t.Fatalf("creating %s/%s: %v", obj.GetNamespace(), obj.GetName(), err)
	}
	return obj
}

// edit changes an object as it is now.
func edit[T client.Object](t *testing.T, obj T, f func(T)) {
	t.Helper()
	testenv.Eventually(t, "updating "+obj.GetName(), func() error {
		if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		f(obj)
		return testenv.Admin().Update(ctx, obj, client.FieldOwner("someone"))
	})
}

func annotate(t *testing.T, obj client.Object, pairs ...string) {
	t.Helper()
	edit(t, obj, func(o client.Object) { o.SetAnnotations(with(o.GetAnnotations(), pairs...)) })
}

func remove(t *testing.T, obj client.Object) {
	t.Helper()
	if err := testenv.Admin().Delete(ctx, obj); err != nil {
		t.Fatalf("deleting %s/%s: %v", obj.GetNamespace(), obj.GetName(), err)
	}
}

// fetch returns an object of the same kind and name in another namespace; nil when there is none.
func fetch(t testing.TB, like client.Object, namespace string) client.Object {
	t.Helper()
	obj := like.DeepCopyObject().(client.Object)
	err := testenv.Admin().Get(ctx, types.NamespacedName{Namespace: namespace, Name: like.GetName()}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatalf("getting %s/%s: %v", namespace, like.GetName(), err)
	}
	return obj
}

// eventuallyHolds waits until namespace holds a copy named as source with this data; nil means: until there is none.
func eventuallyHolds(t *testing.T, source client.Object, namespace string, want map[string]string) {
	t.Helper()
	testenv.Eventually(t, "the mirror in "+namespace, func() error {
		obj := fetch(t, source, namespace)
		if obj == nil || want == nil {
			if (obj == nil) != (want == nil) {
				return fmt.Errorf("there: %t", obj != nil)
			}
			return nil
		}
		if diff := cmp.Diff(want, dataOf(obj)); diff != "" {
			return fmt.Errorf("data (-want +got):\n%s", diff)
		}
		return nil
	})
}

// stays fails when namespace does not hold this now.
func stays(t *testing.T, source client.Object, namespace string, want map[string]string) {
	t.Helper()
	obj := fetch(t, source, namespace)
	switch {
	case obj == nil && want == nil:
	case obj == nil || want == nil:
		t.Errorf("%s in %s is there: %t, want %t", source.GetName(), namespace, obj != nil, want != nil)
	default:
		if diff := cmp.Diff(want, dataOf(obj)); diff != "" {
			t.Errorf("%s in %s (-want +got):\n%s", source.GetName(), namespace, diff)
		}
	}
}

// settled returns once the reflector has worked off all that happened before: a probe pushed now has arrived, and no write has
// been sent for a while.
func settled(t *testing.T) {
	t.Helper()
	for _, kind := range kinds {
		from, to := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		probe := create(t, build(kind, from, "probe", annotated(to), map[string]string{"k": "v"}))
		eventuallyHolds(t, probe, to, map[string]string{"k": "v"})
		remove(t, probe)
		eventuallyHolds(t, probe, to, nil)
	}
	last, since := testenv.Writes(t), time.Now()
	testenv.Eventually(t, "the reflector to be quiet", func() error {
		if now := testenv.Writes(t); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if quiet := time.Since(since); quiet < 500*time.Millisecond {
			return fmt.Errorf("quiet for %v", quiet)
		}
		return nil
	})
}

// spent returns the writes that f causes, settled's own apart.
func spent(t *testing.T, f func()) map[string]int {
	t.Helper()
	testenv.Eventually(t, "the namespaces of earlier tests to go", func() error { // their sources' mirrors are deleted
		var all corev1.NamespaceList
		if err := testenv.Admin().List(ctx, &all); err != nil {
			return err
		}
		for _, ns := range all.Items {
			if ns.DeletionTimestamp != nil {
				return fmt.Errorf("%s is still there", ns.Name)
			}
		}
		return nil
	})
	settled(t)
	before := testenv.Writes(t)
	f()
	last, since := testenv.Writes(t), time.Now()
	testenv.Eventually(t, "the reflector to be quiet", func() error {
		if now := testenv.Writes(t); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if quiet := time.Since(since); quiet < time.Second {
			return fmt.Errorf("quiet for %v", quiet)
		}
		return nil
	})
	for k, n := range before {
		if last[k] -= n; last[k] == 0 {
			delete(last, k)
		}
	}
	return last
}

// eventuallyTold waits for an Event with this reason and text on obj.
func eventuallyTold(t *testing.T, obj client.Object, reason Reason, text string) {
	t.Helper()
	testenv.Eventually(t, "an Event "+string(reason), func() error {
		events := told(t, obj)
		for _, e := range events {
			if e.Reason == string(reason) && strings.Contains(e.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("there are %v", slices.Collect(func(yield func(string) bool) {
			for _, e := range events {
				if !yield(e.Reason + ": " + e.Message) {
					return
				}
			}
		}))
	})
}

func told(t testing.TB, obj client.Object) []corev1.Event {
	t.Helper()
	var events corev1.EventList
	err := testenv.Admin().List(ctx, &events, client.InNamespace(obj.GetNamespace()), client.MatchingFields{"involvedObject.name": obj.GetName()})
	if err != nil {
		t.Fatalf("listing events: %v", err)
	}
	return events.Items
}

// namespaced creates a namespace with a name of its own.
func namespaced(t *testing.T, name string, labels, annotations map[string]string) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations}}
	create(t, ns)
	t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting namespace %s: %v", name, err)
		}
	})
	return ns
}

func label(t *testing.T, namespace string, labels map[string]string) {
	t.Helper()
	edit(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(ns *corev1.Namespace) {
		ns.Labels = maps.Clone(labels)
	})
}

func gone(obj client.Object) error {
	err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(obj), obj.DeepCopyObject().(client.Object))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("still there (%v)", err)
}

func makeImmutable(obj client.Object) { obj.(*corev1.Secret).Immutable = ptr.To(true) }

func notFound(key client.ObjectKey) error {
	return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
}
