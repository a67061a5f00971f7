package trust

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

// fault makes one write fail: before the API server has it, or after it was carried out.
type fault struct {
	armed atomic.Bool
	after bool
}

var errFault = errors.New("injected")

func (f *fault) around(write func() error) error {
	if !f.armed.CompareAndSwap(true, false) {
		return write()
	}
	if f.after {
		if err := write(); err != nil {
			return err
		}
	}
	return errFault
}

// client returns the daemon's client with the fault in the writes of one kind: target, delete or status.
func (f *fault) client(t *testing.T, kind string) client.Client {
	t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	var funcs interceptor.Funcs
	switch kind {
	case "target":
		funcs.Patch = func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return f.around(func() error { return c.Patch(ctx, obj, patch, opts...) })
		}
	case "delete":
		funcs.Delete = func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return f.around(func() error { return c.Delete(ctx, obj, opts...) })
		}
	case "status":
		funcs.SubResourceApply = func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return f.around(func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		}
	}
	return interceptor.NewClient(c, funcs)
}

// Each write fails twice, refused and carried out without an answer; the next reconciliation heals both.
func TestFaults(t *testing.T) {
	a, b := testCert(t, "a", nil), testCert(t, "b", nil)
	const create, update, deselect, release = "create", "update", "deselect", "release"
	for _, tc := range []struct{ write, step string }{
		{"target", create}, {"status", create},
		{"target", update}, {"status", update},
		{"delete", deselect}, {"target", release},
	} {
		for _, after := range []bool{false, true} {
			name := tc.write + " on " + tc.step + ", refused"
			if after {
				name = tc.write + " on " + tc.step + ", unanswered"
			}
			t.Run(name, func(t *testing.T) {
				w, f := newWorld(t), &fault{after: after}
				namespaces := w.namespaces(2)
				w.run(func(r *Reconciler) { r.Client = f.client(t, tc.write) })
				f.armed.Store(tc.step == create)
				w.bundle(nil, trustapi.BundleSource{InLine: a})
				w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
				w.condition(reasonSynced)
				if tc.step == release {
					foreign := w.object(namespaces[0])
					body := []byte(`{"data":{"mine":"x"}}`)
					if err := testenv.Admin().Patch(context.Background(), foreign, client.RawPatch("application/merge-patch+json", body)); err != nil {
						t.Fatal(err)
					}
				}
				w.quiet()
				if tc.step != create {
					f.armed.Store(true)
				}
				switch tc.step {
				case update: // of the spec, so that the status is written too
					w.change(func(s *trustapi.BundleSpec) { s.Sources[0].InLine = b })
					w.holds(namespaces, map[string]string{"ca.crt": joined(b)})
				case deselect:
					patchLabels(t, namespace(namespaces[0]), map[string]any{"bundle": nil})
					w.lacks(namespaces[0])
				case release:
					patchLabels(t, namespace(namespaces[0]), map[string]any{"bundle": nil})
					w.holds(namespaces[:1], map[string]string{"mine": "x"})
				}
				w.condition(reasonSynced)
				w.quiet()
				if f.armed.Load() {
					t.Error("the write under test was never made")
				}
			})
		}
	}
}

// A stranger's ConfigMap that appears between looking and writing is not touched.
func TestStrangerAppears(t *testing.T) {
	w := newWorld(t)
	ns := w.namespaces(1)[0]
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.name}, Data: map[string]string{"mine": "x"}}
	late := sync.OnceValue(func() error { return testenv.Admin().Create(context.Background(), stranger) })
	w.run(func(r *Reconciler) {
		r.Client = patching(t, func(_ context.Context, _ client.Object, patch func() error) error {
			return errors.Join(late(), patch())
		})
	})
	w.bundle(nil, trustapi.BundleSource{InLine: testCert(t, "a", nil)})
	w.condition(reasonTargetFailed)
	c, err := w.target(ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Data) != 1 || len(c.Labels) != 0 || len(c.OwnerReferences) != 0 {
		t.Errorf("the stranger's ConfigMap has data %v, labels %v, owners %v", c.Data, c.Labels, c.OwnerReferences)
	}
}

// A target that its owner deletes between looking and writing is not made by a write that was meant for it: what is given back does
// not come back, what is wanted is decided on anew.
func TestDeletedMeanwhile(t *testing.T) {
	a := testCert(t, "a", nil)
	for _, tc := range []struct {
		step string
		do   func(w *world, ns string)
		back bool
	}{
		{"giving back", func(w *world, ns string) { patchLabels(w.t, namespace(ns), map[string]any{"bundle": nil}) }, false},
		{"updating", func(w *world, _ string) {
			w.change(func(s *trustapi.BundleSpec) { s.Target.ConfigMap.Metadata.Labels = map[string]string{"x": "y"} })
		}, true},
	} {
		t.Run(tc.step, func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(2)
			var armed atomic.Bool
			var conflicts, after atomic.Int64
			w.run(func(r *Reconciler) {
				r.Client = patching(t, func(ctx context.Context, obj client.Object, patch func() error) error {
					if obj.GetNamespace() != namespaces[0] {
						return patch()
					}
					strike := armed.CompareAndSwap(true, false)
					if strike {
						if err := testenv.Admin().Delete(ctx, w.object(namespaces[0])); err != nil {
							return err
						}
					}
					err := patch()
					if strike && apierrors.IsConflict(err) {
						conflicts.Add(1)
					}
					if strike && err == nil {
						after.Add(1)
					}
					return err
				})
			})
			w.bundle(nil, trustapi.BundleSource{InLine: a})
			w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
			foreign := w.object(namespaces[0])
			if err := testenv.Admin().Patch(context.Background(), foreign, client.RawPatch(types.MergePatchType, []byte(`{"data":{"mine":"x"}}`))); err != nil {
				t.Fatal(err)
			}
			w.quiet()
			armed.Store(true)
			tc.do(w, namespaces[0])
			testenv.Eventually(t, "the write to meet a conflict", func() error {
				if conflicts.Load() != 1 || after.Load() != 0 {
					return fmt.Errorf("%d conflicts, %d writes", conflicts.Load(), after.Load())
				}
				return nil
			})
			if tc.back {
				w.holds(namespaces[:1], map[string]string{"ca.crt": joined(a)})
			} else {
				w.lacks(namespaces[0])
			}
			// The next event is seen to as ever.
			patchLabels(t, namespace(namespaces[1]), map[string]any{"bundle": nil})
			w.lacks(namespaces[1])
			if _, err := w.target(namespaces[0]); (err == nil) != tc.back {
				t.Errorf("in the end: %v", err)
			}
		})
	}
}

// A target is not taken back as long as the API server says otherwise than the cache: that its namespace is selected, or that its Bundle
// is another by now.
func TestCleanIsConfirmed(t *testing.T) {
	for name, lie := range map[string]func(w *world, obj client.Object) (lied bool){
		"the namespace is selected again": func(w *world, obj client.Object) bool {
			_, ok := obj.(*metav1.PartialObjectMetadata)
			if ok {
				obj.SetLabels(map[string]string{"bundle": w.name})
			}
			return ok
		},
		"the Bundle has another spec": func(_ *world, obj client.Object) bool {
			_, ok := obj.(*trustapi.Bundle)
			if ok {
				obj.SetGeneration(obj.GetGeneration() + 1)
			}
			return ok
		},
		"the Bundle was made anew": func(_ *world, obj client.Object) bool {
			_, ok := obj.(*trustapi.Bundle)
			if ok {
				obj.SetUID("another")
			}
			return ok
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(2)
			a := testCert(t, "a", nil)
			var lies atomic.Int64
			var honest atomic.Bool
			w.run(func(r *Reconciler) {
				r.Live = interceptorReader{get: func(ctx context.Context, key client.ObjectKey, obj client.Object) error {
					err := testenv.Admin().Get(ctx, key, obj)
					if err == nil && !honest.Load() && lie(w, obj) {
						lies.Add(1)
					}
					return err
				}}
			})
			w.bundle(nil, trustapi.BundleSource{InLine: a})
			data := map[string]string{"ca.crt": joined(a)}
			w.holds(namespaces, data)
			w.condition(reasonSynced)
			before := w.quiet()
			patchLabels(t, namespace(namespaces[1]), map[string]any{"bundle": nil})
			testenv.Eventually(t, "the decision to be made again", func() error {
				if n := lies.Load(); n < 2 {
					return fmt.Errorf("asked %d times", n)
				}
				return nil
			})
			if diff := cmp.Diff(map[string]int{}, w.wrote(before)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			w.holds(namespaces, data)
			honest.Store(true)
			w.lacks(namespaces[1])
		})
	}
}

// A target that fails waits for its own time: what happens in other namespaces does not try it again.
func TestFailureWaits(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(2)
	var tries atomic.Int64
	now := newClock(start)
	w.run(func(r *Reconciler) {
		r.Now = now.get
		r.Client = patching(t, func(_ context.Context, obj client.Object, patch func() error) error {
			if obj.GetNamespace() == namespaces[0] {
				tries.Add(1)
				return errFault
			}
			return patch()
		})
	})
	a := testCert(t, "a", nil)
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	data := map[string]string{"ca.crt": joined(a)}
	w.condition(reasonTargetFailed)
	tried := func(want int64) {
		t.Helper()
		// A drift put right is proof that the Bundle was looked at.
		c, err := w.target(namespaces[1])
		if err != nil {
			t.Fatal(err)
		}
		c.Data["ca.crt"] = "mine"
		if err := testenv.Admin().Update(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		w.holds(namespaces[1:], data)
		testenv.Eventually(t, "the tries", func() error {
			if got := tries.Load(); got != want {
				return fmt.Errorf("%d, want %d", got, want)
			}
			return nil
		})
	}
	tried(1)
	now.advance(firstRetry)
	tried(2)
	now.advance(firstRetry)
	tried(2)
	now.advance(firstRetry)
	tried(3)
	if message := w.condition(reasonTargetFailed); !strings.Contains(message, namespaces[0]) || !strings.Contains(message, errFault.Error()) {
		t.Errorf("message %q", message)
	}
}

// What was to be looked at when a reconciliation failed is not forgotten.
func TestFailedLookIsMadeGood(t *testing.T) {
	w, broken := newWorld(t), false
	namespaces := w.namespaces(1)
	a := testCert(t, "a", nil)
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	base, err := client.New(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	cache := interceptorReader{Reader: testenv.Admin(), get: func(ctx context.Context, key client.ObjectKey, obj client.Object) error {
		if broken && key.Name == namespaces[0] {
			return errFault
		}
		return testenv.Admin().Get(ctx, key, obj)
	}}
	r := &Reconciler{Client: base, Cache: cache, Live: testenv.Admin(), Events: w.events}
	r.init()
	reconcile := func(want error) {
		t.Helper()
		if _, err := r.Reconcile(context.Background(), ctrl.Request{NamespacedName: types.NamespacedName{Name: w.name}}); !errors.Is(err, want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
	}
	data := map[string]string{"ca.crt": joined(a)}
	reconcile(nil)
	w.holds(namespaces, data)
	r.news.add(w.name, namespaces[0])
	reconcile(nil) // it sees its own write
	if err := testenv.Admin().Delete(context.Background(), w.object(namespaces[0])); err != nil {
		t.Fatal(err)
	}
	r.news.add(w.name, namespaces[0])
	broken = true
	reconcile(errFault)
	broken = false
	reconcile(nil)
	w.holds(namespaces, data)
}

// interceptorReader is a reader whose answers to Get a test chooses.
type interceptorReader struct {
	client.Reader
	get func(context.Context, client.ObjectKey, client.Object) error
}

func (r interceptorReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	return r.get(ctx, key, obj)
}
