package trust

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is one test's Bundle, named like the label that its namespaces have.
type world struct {
	t      *testing.T
	name   string
	events *record.FakeRecorder
	stop   func()
}

// newWorld has no namespaces yet and no daemon.
func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, name: fmt.Sprintf("b-%d", time.Now().UnixNano()), events: record.NewFakeRecorder(10_000), stop: func() {}}
}

// run starts the daemon's part under test.
func (w *world) run(change ...func(*Reconciler)) {
	w.t.Helper()
	w.stop = testenv.Manager(w.t, func(mgr ctrl.Manager) error {
		r := &Reconciler{Client: mgr.GetClient(), Cache: mgr.GetCache(), Events: w.events}
		for _, f := range change {
			f(r)
		}
		return r.Setup(mgr)
	})
}

// namespaces makes n namespaces that the Bundle selects.
func (w *world) namespaces(n int) (names []string) {
	for range n {
		names = append(names, testenv.Namespace(w.t, map[string]string{"bundle": w.name}))
	}
	return names
}

// bundle creates the Bundle with target key ca.crt in the namespaces labelled for it.
func (w *world) bundle(change func(*trustapi.BundleSpec), sources ...trustapi.BundleSource) {
	w.t.Helper()
	b := &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: trustapi.BundleSpec{
		Sources: sources,
		Target: trustapi.BundleTarget{
			ConfigMap:         &trustapi.TargetTemplate{Key: "ca.crt"},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"bundle": w.name}},
		},
	}}
	if change != nil {
		change(&b.Spec)
	}
	w.create(b)
}

// create makes an object that goes with the test.
func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := testenv.Admin().Create(context.Background(), obj); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := testenv.Admin().Delete(context.Background(), obj); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	})
}

// source creates a ConfigMap or Secret in the trust namespace, labelled for the Bundle.
func (w *world) source(kind, suffix string, data map[string]string) client.Object {
	w.t.Helper()
	m := metav1.ObjectMeta{Namespace: DefaultTrustNamespace, Name: w.name + suffix, Labels: map[string]string{"feeds": w.name}}
	var obj client.Object = &corev1.ConfigMap{ObjectMeta: m, Data: data}
	if kind == "Secret" {
		obj = &corev1.Secret{ObjectMeta: m, StringData: data}
	}
	w.create(obj)
	return obj
}

// setData replaces the data of a source.
func (w *world) setData(obj client.Object, data map[string]string) {
	w.t.Helper()
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		o.Data = data
	case *corev1.Secret:
		o.Data = map[string][]byte{}
		for k, v := range data {
			o.Data[k] = []byte(v)
		}
	}
	if err := testenv.Admin().Update(context.Background(), obj); err != nil {
		w.t.Fatal(err)
	}
}

// change edits the Bundle's spec.
func (w *world) change(f func(*trustapi.BundleSpec)) {
	w.t.Helper()
	testenv.Eventually(w.t, "the Bundle to be changed", func() error {
		b, err := w.get()
		if err != nil {
			return err
		}
		f(&b.Spec)
		return testenv.Admin().Update(context.Background(), b)
	})
}

func (w *world) get() (*trustapi.Bundle, error) {
	var b trustapi.Bundle
	return &b, testenv.Admin().Get(context.Background(), types.NamespacedName{Name: w.name}, &b)
}

// object names the target of a namespace.
func (w *world) object(ns string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.name}}
}

func (w *world) target(ns string) (*corev1.ConfigMap, error) {
	var c corev1.ConfigMap
	return &c, testenv.Admin().Get(context.Background(), types.NamespacedName{Namespace: ns, Name: w.name}, &c)
}

// condition waits until the Bundle of this generation says so, and returns the message.
func (w *world) condition(reason string) (message string) {
	w.t.Helper()
	testenv.Eventually(w.t, "the Bundle to be "+reason, func() error {
		b, err := w.get()
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(b.Status.Conditions, trustapi.BundleConditionSynced)
		if c == nil || c.Reason != reason || c.ObservedGeneration != b.Generation || (c.Status == metav1.ConditionTrue) != (reason == reasonSynced) {
			return fmt.Errorf("condition is %+v, generation %d", c, b.Generation)
		}
		message = c.Message
		return nil
	})
	return message
}

// holds waits until each namespace's target has just this data.
func (w *world) holds(namespaces []string, data map[string]string) {
	w.t.Helper()
	for _, ns := range namespaces {
		testenv.Eventually(w.t, "the target in "+ns, func() error {
			c, err := w.target(ns)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(data, c.Data); diff != "" {
				return fmt.Errorf("data (-want +got):\n%s", diff)
			}
			return nil
		})
	}
}

// lacks waits until no namespace has the ConfigMap.
func (w *world) lacks(namespaces ...string) {
	w.t.Helper()
	for _, ns := range namespaces {
		testenv.Eventually(w.t, "no target in "+ns, func() error {
			if _, err := w.target(ns); !apierrors.IsNotFound(err) {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
	}
}

// quiet waits until the daemon has written nothing for half a second and returns its writes so far.
func (w *world) quiet() map[string]int {
	w.t.Helper()
	last, since := testenv.Writes(w.t), time.Now()
	testenv.Eventually(w.t, "the daemon to be quiet", func() error {
		if now := testenv.Writes(w.t); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if time.Since(since) < 500*time.Millisecond {
			return fmt.Errorf("last write %s ago", time.Since(since))
		}
		return nil
	})
	return last
}

// wrote returns the writes since an earlier count.
func (w *world) wrote(before map[string]int) map[string]int {
	diff := map[string]int{}
	for k, n := range w.quiet() {
		if n -= before[k]; n != 0 {
			diff[k] = n
		}
	}
	return diff
}

// saw waits for an Event that begins with prefix.
func (w *world) saw(prefix string) {
	w.t.Helper()
	var seen []string
	testenv.Eventually(w.t, "an Event "+prefix, func() error {
		for {
			select {
			case e := <-w.events.Events:
				seen = append(seen, e)
				if strings.HasPrefix(e, prefix) {
					return nil
				}
			default:
				return fmt.Errorf("seen: %q", seen)
			}
		}
	})
}

// patchLabels sets labels of an object; nil takes one off.
func patchLabels(t *testing.T, obj client.Object, labels map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		t.Fatal(err)
	}
	if err := testenv.Admin().Patch(context.Background(), obj, client.RawPatch(types.MergePatchType, body)); err != nil {
		t.Fatal(err)
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// clock is a Reconciler's clock that a test moves.
type clock struct{ ns atomic.Int64 }

func newClock(now time.Time) *clock {
	c := &clock{}
	c.ns.Store(now.UnixNano())
	return c
}

func (c *clock) get() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// countingReader counts what is looked up in a cache.
type countingReader struct {
	client.Reader
	lists   atomic.Int64 // of namespaces
	targets atomic.Int64 // lookups of ConfigMaps outside of namespace
	except  atomic.Value // string
}

func (c *countingReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if obj.GetObjectKind().GroupVersionKind().Kind == "ConfigMap" && key.Namespace != c.except.Load() {
		c.targets.Add(1)
	}
	return c.Reader.Get(ctx, key, obj, opts...)
}

func (c *countingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if list.GetObjectKind().GroupVersionKind().Kind == "NamespaceList" {
		c.lists.Add(1)
	}
	return c.Reader.List(ctx, list, opts...)
}

// patching returns the daemon's client with something in place of its patches.
func patching(t *testing.T, patch func(ctx context.Context, obj client.Object, patch func() error) error) client.Client {
	t.Helper()
	base, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return interceptor.NewClient(base, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, body client.Patch, opts ...client.PatchOption) error {
			return patch(ctx, obj, func() error { return c.Patch(ctx, obj, body, opts...) })
		},
	})
}
