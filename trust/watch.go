package trust

import (
	"context"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// change is one watch event: an absent state is nil. The initial list is none: every Bundle is queued at the start anyway,
// and reconciled when all caches are filled.
type change struct {
	old, new client.Object
	unknown  bool // the last state of a deleted object was not seen
}

// object returns the newest state known.
func (c change) object() client.Object {
	if c.new != nil {
		return c.new
	}
	return c.old
}

func onChange(f func(context.Context, change, queue)) handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				f(ctx, change{new: e.Object}, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				f(ctx, change{old: e.ObjectOld, new: e.ObjectNew}, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			f(ctx, change{old: e.Object, unknown: e.DeleteStateUnknown}, q)
		},
	}
}

// configMapEvents wakes the Bundle whose name a ConfigMap has, be it a target, about to be one or in the way of one, and in
// the trust namespace the Bundles that use it as a source.
func (r *Reconciler) configMapEvents() handler.EventHandler {
	return onChange(func(ctx context.Context, c change, q queue) {
		obj := c.object()
		if !r.memory.echo(obj, c.new == nil) || c.unknown {
			var b trustapi.Bundle
			name := types.NamespacedName{Name: obj.GetName()}
			if r.Cache.Get(ctx, name, &b, client.UnsafeDisableDeepCopy) == nil {
				r.news.add(b.Name, obj.GetNamespace())
				q.Add(reconcile.Request{NamespacedName: name})
			}
		}
		if obj.GetNamespace() == r.trustNamespace() {
			r.wakeUsers(ctx, "ConfigMap", c, q)
		}
	})
}

// sourceEvents wakes the Bundles that use an object of the trust namespace, or did before it changed.
func (r *Reconciler) sourceEvents(kind string) handler.EventHandler {
	return onChange(func(ctx context.Context, c change, q queue) { r.wakeUsers(ctx, kind, c, q) })
}

func (r *Reconciler) wakeUsers(ctx context.Context, kind string, c change, q queue) {
	ref := sourceRef{Kind: kind, Name: c.object().GetName()}
	r.eachBundle(ctx, func(b *trustapi.Bundle) {
		if c.new != nil && uses(b, ref, labels.Set(c.new.GetLabels())) || c.old != nil && uses(b, ref, labels.Set(c.old.GetLabels())) {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: b.Name}})
		}
	})
}

// namespaceEvents wakes the Bundles that begin or cease to select a namespace. A namespace that goes takes its targets along.
func (r *Reconciler) namespaceEvents() handler.EventHandler {
	return onChange(func(ctx context.Context, c change, q queue) {
		if c.new == nil || c.new.GetDeletionTimestamp() != nil {
			return
		}
		r.eachBundle(ctx, func(b *trustapi.Bundle) {
			selector, err := selectorOf(b.Spec.Target)
			if err != nil {
				return
			}
			before := c.old != nil && selector.Matches(labels.Set(c.old.GetLabels()))
			if before != selector.Matches(labels.Set(c.new.GetLabels())) {
				r.news.add(b.Name, c.new.GetName())
				q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: b.Name}})
			}
		})
	})
}

// eachBundle calls f for every Bundle, as the cache has it.
func (r *Reconciler) eachBundle(ctx context.Context, f func(*trustapi.Bundle)) {
	var bundles trustapi.BundleList
	if err := r.Cache.List(ctx, &bundles, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "listing Bundles for an event")
		return
	}
	for i := range bundles.Items {
		f(&bundles.Items[i])
	}
}
