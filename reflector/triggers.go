package reflector

import (
	"context"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// indexReflects finds mirrors by their source's namespace/name, or all of them by every.
	indexReflects = "reflector.reflects"
	// indexPushes finds sources that want automatic mirrors by name, or all of them by every.
	indexPushes = "reflector.pushes"
	// every is no Kubernetes name.
	every = "*"
)

// IndexFields adds the indexes that both Reconcilers look things up by. Call it once, before Setup.
func IndexFields(ctx context.Context, indexer client.FieldIndexer) error {
	for _, kind := range []string{KindSecret, KindConfigMap} {
		for field, values := range map[string]client.IndexerFunc{indexReflects: reflectsValues, indexPushes: pushesValues} {
			meta := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
			if err := indexer.IndexField(ctx, meta, field, values); err != nil {
				return fmt.Errorf("indexing %ss by %s: %w", kind, field, err)
			}
		}
	}
	return nil
}

func reflectsValues(obj client.Object) []string {
	ref, ok := sourceOf(obj)
	if !ok {
		return nil
	}
	return []string{ref.String(), every}
}

func pushesValues(obj client.Object) []string {
	if !pushes(obj) {
		return nil
	}
	return []string{obj.GetName(), every}
}

// sourceOf returns the source that an object is a mirror of.
func sourceOf(obj metav1.Object) (types.NamespacedName, bool) {
	ref, _, err := parseReflects(obj)
	return ref, err == nil && ref.Name != ""
}

// keys is a set of sources to wake.
type keys map[types.NamespacedName]struct{}

func (k keys) add(key types.NamespacedName) { k[key] = struct{}{} }

func (k keys) enqueue(q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for key := range k {
		q.Add(reconcile.Request{NamespacedName: key})
	}
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// objectEvents maps an event of a Secret or ConfigMap to the sources it concerns.
func (r *Reconciler) objectEvents() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			r.note(e.Object)
			if e.IsInInitialList {
				r.itself(e.Object).enqueue(q)
				return
			}
			wake := r.concerns(ctx, e.Object, r.echoes(e.Object, e.Object))
			maps.Copy(wake, r.namesakes(ctx, e.Object))
			wake.enqueue(q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			r.note(e.ObjectNew)
			echo := r.echoes(e.ObjectOld, e.ObjectNew)
			wake := r.concerns(ctx, e.ObjectNew, echo)
			maps.Copy(wake, r.concerns(ctx, e.ObjectOld, echo))
			wake.enqueue(q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			if source, ok := sourceOf(e.Object); ok {
				r.memory.caughtUp(source, e.Object, true)
			}
			wake := r.concerns(ctx, e.Object, false)
			maps.Copy(wake, r.namesakes(ctx, e.Object))
			wake.enqueue(q)
		},
	}
}

// note parses a source when it is first seen, so that the lag counts from there.
func (r *Reconciler) note(obj client.Object) {
	if speaks(obj) && !r.excluded(obj.GetNamespace()) {
		r.memory.source(obj, r.now())
	}
}

// echoes tells whether an event only shows our own write: its source has nothing to learn from it. A version that somebody
// else has moved to another source counts for the one it was ours under.
func (r *Reconciler) echoes(before, after client.Object) bool {
	source, ok := sourceOf(before)
	return ok && r.memory.caughtUp(source, after, false)
}

// itself returns the sources that an object names or is. That is enough of what was there at the start: every source, and every
// mirror, has an event of its own, and no worker starts before the caches are full.
func (r *Reconciler) itself(obj client.Object) keys {
	wake := keys{}
	if source, ok := sourceOf(obj); ok {
		wake.add(source)
	}
	if speaks(obj) && !r.excluded(obj.GetNamespace()) {
		wake.add(client.ObjectKeyFromObject(obj))
	}
	return wake
}

// concerns returns the source that an object mirrors, unless the event is an echo, and the object itself when it is a source
// or is asked to be one.
func (r *Reconciler) concerns(ctx context.Context, obj client.Object, echo bool) keys {
	wake := keys{}
	if source, ok := sourceOf(obj); ok && !echo {
		wake.add(source)
	}
	own := client.ObjectKeyFromObject(obj)
	if r.excluded(own.Namespace) {
		return wake
	}
	if speaks(obj) {
		wake.add(own)
		return wake
	}
	mirrors, err := r.list(ctx, client.MatchingFields{indexReflects: own.String()}, client.Limit(1))
	if err != nil {
		log.FromContext(ctx).Error(err, "looking up the mirrors of an object", "key", own)
	}
	if len(mirrors) > 0 || err != nil {
		wake.add(own)
	}
	return wake
}

// namesakes returns the sources that may want a mirror where an object has appeared or gone.
func (r *Reconciler) namesakes(ctx context.Context, obj client.Object) keys {
	wake := keys{}
	sources, err := r.list(ctx, client.MatchingFields{indexPushes: obj.GetName()})
	if err != nil {
		log.FromContext(ctx).Error(err, "looking up sources by name", "name", obj.GetName())
	}
	own := client.ObjectKeyFromObject(obj)
	mirrored, _ := sourceOf(obj)
	for i := range sources {
		if key := client.ObjectKeyFromObject(&sources[i]); key != own && key != mirrored {
			wake.add(key)
		}
	}
	return wake
}

// namespaceMatters passes the changes of a namespace that can change a plan.
var namespaceMatters = predicate.Funcs{
	// The first list needs no mapping: every source has an event of its own, and no worker starts before the caches are full.
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld, e.ObjectNew
		return !maps.Equal(was.GetLabels(), is.GetLabels()) ||
			was.GetAnnotations()[AnnotationDecline] != is.GetAnnotations()[AnnotationDecline] ||
			(was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil)
	},
}

// namespaceEvents maps a namespace to the sources that want to push there and those that have mirrors there.
func (r *Reconciler) namespaceEvents() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, ns client.Object) []reconcile.Request {
		var wake []reconcile.Request
		for key := range r.interested(ctx, ns) {
			wake = append(wake, reconcile.Request{NamespacedName: key})
		}
		return wake
	})
}

func (r *Reconciler) interested(ctx context.Context, ns client.Object) keys {
	wake := keys{}
	sources, err := r.list(ctx, client.MatchingFields{indexPushes: every})
	if err != nil {
		log.FromContext(ctx).Error(err, "looking up sources for a namespace", "namespace", ns.GetName())
	}
	for i := range sources {
		if r.excluded(sources[i].Namespace) {
			continue
		}
		source := r.memory.source(&sources[i], r.now())
		p, err := placeOf(source, ns, r.Namespace, r.excludedGlobs())
		if err != nil || wanted(State{Key: source.Key, Source: source}, p) {
			wake.add(source.Key)
		}
	}
	mirrors, err := r.list(ctx, client.MatchingFields{indexReflects: every}, client.InNamespace(ns.GetName()))
	if err != nil {
		log.FromContext(ctx).Error(err, "looking up the mirrors of a namespace", "namespace", ns.GetName())
	}
	for i := range mirrors {
		if source, ok := sourceOf(&mirrors[i]); ok {
			wake.add(source)
		}
	}
	return wake
}
