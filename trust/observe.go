package trust

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

// maxRecheck bounds how late an expiry can be noticed: a timer knows nothing of a clock that was set.
const maxRecheck = 10 * time.Minute

// observed is everything one reconciliation has read.
type observed struct {
	Bundle   *trustapi.Bundle // nil: gone or going
	Refusal  *Refusal         // why it cannot be published; nil if it can
	Pool     Pool             // empty if refused or without a target
	Selector labels.Selector
	State    State // of the namespaces that were looked at
	Now      time.Time

	Everywhere bool     // every namespace was looked at
	Looked     []string // those that were, if not every one, also the ones that are gone
	Again      bool     // the targets were held against the same before: a write to one that was there repairs it
	Behind     []string // where the cache lags behind own writes

	memo *memo
	pass pass
}

// recheck returns when to look again without an event; 0 for never.
func (o observed) recheck() time.Duration {
	if o.Refusal != nil {
		return 0
	}
	var after time.Duration
	if _, next := o.memo.places.due(o.Now); !next.IsZero() {
		after = next.Sub(o.Now)
	}
	if !o.Pool.Until.IsZero() { // a certificate counts as expired after its last second
		expiry := min(max(o.Pool.Until.Sub(o.Now), 0)+time.Second, maxRecheck)
		if after == 0 || expiry < after {
			after = expiry
		}
	}
	return after
}

func (r *Reconciler) observe(ctx context.Context, name string) (observed, error) {
	var b trustapi.Bundle
	err := r.Cache.Get(ctx, types.NamespacedName{Name: name}, &b)
	if apierrors.IsNotFound(err) || err == nil && b.DeletionTimestamp != nil {
		return observed{}, nil
	}
	if err != nil {
		return observed{}, fmt.Errorf("looking up Bundle %s: %w", name, err)
	}
	o := observed{Bundle: &b, Refusal: check(&b), Now: r.now(), memo: r.memo(name)}
	complete, marked := o.memo.complete, r.news.take(name)
	o.memo.complete = false // until this reconciliation is through: after one that is not, all namespaces have their turn
	o.State = State{Bundle: Owner{Name: b.Name, UID: b.UID}, Now: o.Now}
	o.pass = pass{uid: b.UID, generation: b.Generation}
	if target := b.Spec.Target.ConfigMap; o.Refusal == nil && target != nil {
		o.Pool, err = r.publish(ctx, &b, o.memo, o.Now)
		if errors.As(err, &o.Refusal) {
			err = nil
		}
		if err != nil {
			return observed{}, err
		}
		o.pass.want = Desired{Key: target.Key, Hash: contentHash(o.Pool.PEM, target.Metadata.Annotations, target.Metadata.Labels)}
		o.State.Want = &o.pass.want
	}
	if o.State.Refused = o.Refusal != nil; o.State.Refused {
		return o, nil
	}
	o.Again = o.memo.last == o.pass
	o.Everywhere = !o.Again || !complete
	err = r.observeTargets(ctx, &o, marked)
	return o, err
}

// observeTargets reads namespaces and the metadata of their targets from the cache: all of them, or those with news and those whose
// time has come.
func (r *Reconciler) observeTargets(ctx context.Context, o *observed, marked map[string]bool) (err error) {
	if o.Selector, err = selectorOf(o.Bundle.Spec.Target); err != nil {
		return fmt.Errorf("reading the namespace selector: %w", err)
	}
	var list metav1.PartialObjectMetadataList
	if o.Everywhere {
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
		if err := r.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("listing namespaces: %w", err)
		}
	} else {
		due, _ := o.memo.places.due(o.Now)
		o.Looked = slices.AppendSeq(due, maps.Keys(marked))
		slices.Sort(o.Looked)
		o.Looked = slices.Compact(o.Looked)
		if list.Items, err = r.namespaces(ctx, o.Looked); err != nil {
			return err
		}
	}
	o.State.Found, o.State.Pauses = map[string]Found{}, map[string]time.Time{}
	fields := map[string][]string{}
	for i := range list.Items {
		ns := &list.Items[i]
		if ns.DeletionTimestamp != nil {
			continue
		}
		o.State.Namespaces = append(o.State.Namespaces, Namespace{Name: ns.Name, Selected: o.Selector.Matches(labels.Set(ns.Labels))})
		found, exists, behind, err := r.target(ctx, types.NamespacedName{Namespace: ns.Name, Name: o.Bundle.Name}, fields, o.Now)
		if err != nil {
			return err
		}
		if exists {
			o.State.Found[ns.Name] = found
		}
		if behind {
			o.Behind = append(o.Behind, ns.Name)
		}
		if pl, ok := o.memo.places.notable[ns.Name]; ok && o.Again { // new content waits for nothing
			o.State.Pauses[ns.Name] = pl.pause()
		}
	}
	return nil
}

// namespaces reads the metadata of some namespaces from the cache, those that are gone left out.
func (r *Reconciler) namespaces(ctx context.Context, names []string) ([]metav1.PartialObjectMetadata, error) {
	list := make([]metav1.PartialObjectMetadata, 0, len(names))
	for _, name := range names {
		var ns metav1.PartialObjectMetadata
		ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		err := r.Cache.Get(ctx, types.NamespacedName{Name: name}, &ns, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking up namespace %s: %w", name, err)
		}
		list = append(list, ns)
	}
	return list, nil
}

// target returns what the newer of cache and memory knows of a ConfigMap.
func (r *Reconciler) target(ctx context.Context, key types.NamespacedName, fields map[string][]string, now time.Time) (f Found, exists, behind bool, err error) {
	var obj metav1.PartialObjectMetadata
	obj.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	err = r.Cache.Get(ctx, key, &obj, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return Found{}, false, false, fmt.Errorf("looking up ConfigMap %s: %w", key, err)
	}
	if exists = err == nil; exists {
		f = parseFound(&obj, fields)
	}
	f, exists, behind = r.memory.newest(key, f, exists, now)
	return f, exists, behind, nil
}
