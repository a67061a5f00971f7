package trust

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
					foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[0], Name: w.name}}
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
	base, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.name}, Data: map[string]string{"mine": "x"}}
	late := sync.OnceValue(func() error { return testenv.Admin().Create(context.Background(), stranger) })
	racing := interceptor.NewClient(base, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := late(); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
	})
	w.run(func(r *Reconciler) { r.Client = racing })
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

// A namespace that is selected again between deciding and taking back keeps its target, whatever the cache says.
func TestCleanIsConfirmed(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(1)
	a := testCert(t, "a", nil)
	stale := testenv.Namespace(t, nil) // the view of a cache that has missed the label
	w.run(func(r *Reconciler) {
		r.Live = interceptorReader{get: func(ctx context.Context, key client.ObjectKey, obj client.Object) error {
			if key.Name == stale {
				obj.SetLabels(map[string]string{"bundle": w.name})
				return nil
			}
			return testenv.Admin().Get(ctx, key, obj)
		}}
	})
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	patchLabels(t, namespace(stale), map[string]any{"bundle": w.name})
	w.holds(append(namespaces, stale), map[string]string{"ca.crt": joined(a)})
	before := w.quiet()
	patchLabels(t, namespace(stale), map[string]any{"bundle": nil})
	if diff := cmp.Diff(map[string]int{}, w.wrote(before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	w.holds([]string{stale}, map[string]string{"ca.crt": joined(a)})
}

// interceptorReader is a live reader whose answers a test chooses.
type interceptorReader struct {
	client.Reader
	get func(context.Context, client.ObjectKey, client.Object) error
}

func (r interceptorReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	return r.get(ctx, key, obj)
}
