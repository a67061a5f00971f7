package inject

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// client returns the daemon's client with something that happens before a patch, which an error of it ends, and something that
// happens after it. It counts conflicts.
func (w *world) client(before, after func() error) client.Client {
	w.t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := before(); err != nil {
				return err
			}
			err := c.Patch(ctx, obj, patch, opts...)
			if apierrors.IsConflict(err) {
				w.conflicts.Add(1)
			}
			if err != nil {
				return err
			}
			return after()
		},
	})
}

func nothing() error { return nil }

var errFault = errors.New("injected")

// The write fails twice, refused and carried out without an answer; the next reconciliation heals both.
func TestFaults(t *testing.T) {
	for name, unanswered := range map[string]bool{"refused": false, "unanswered": true} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(w *world) {
				var armed atomic.Bool
				fail := func() error {
					if armed.CompareAndSwap(true, false) {
						return errFault
					}
					return nil
				}
				a, b := testCA(w.t, "a", far()), testCA(w.t, "b", far())
				c := w.client(fail, nothing)
				if unanswered {
					c = w.client(nothing, fail)
				}
				armed.Store(true)
				w.run(func(r *Reconciler) { r.Client = c })
				before := w.quiet()
				s := w.issued(a)
				w.holds(a)
				w.wrote(before, 1)
				armed.Store(true)
				w.setCA(s, b)
				w.holds(a + b)
				w.wrote(before, 2)
				if armed.Load() {
					w.t.Error("the write under test was never made")
				}
			})
		})
	}
}

// What somebody changes between reading and writing is not overwritten: the decision is made again.
func TestRace(t *testing.T) {
	eachKind(t, func(w *world) {
		a, b := testCA(w.t, "a", far()), testCA(w.t, "b", far())
		var once sync.Once
		w.run(func(r *Reconciler) {
			r.Client = w.client(func() error { once.Do(func() { w.setBundles(b) }); return nil }, nothing)
		})
		w.issued(a)
		w.holds(b + a)
	})
}

// A target that is deleted between reading and writing does not come back, nor does one that has its name since get our write
// unseen.
func TestDeletedMeanwhile(t *testing.T) {
	eachKind(t, func(w *world) {
		var once sync.Once
		remove := func() (err error) {
			once.Do(func() {
				var u *unstructured.Unstructured
				if u, err = w.get(); err == nil {
					err = testenv.Admin().Delete(ctx, u)
				}
				for err == nil { // until it is gone: a CustomResourceDefinition takes a moment
					_, err = w.get()
				}
			})
			return client.IgnoreNotFound(err)
		}
		var answered atomic.Int64
		w.run(func(r *Reconciler) {
			r.Client = w.client(remove, func() error { answered.Add(1); return nil })
		})
		before := w.quiet()
		w.issued(testCA(w.t, "a", far()))
		w.wrote(before, 0) // but for the conflict
		if _, err := w.get(); !apierrors.IsNotFound(err) || answered.Load() != 0 {
			w.t.Errorf("the target is back: %v", err)
		}
	})
}
