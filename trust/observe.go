package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

// observed is everything one reconciliation has read.
type observed struct {
	Bundle   *trustapi.Bundle // nil: gone or going
	Refusal  *Refusal         // why it cannot be published; nil if it can
	Pool     Pool             // empty if refused or without a target
	Selector labels.Selector
	State    State
	Now      time.Time

	memo   *memo
	behind bool // the cache lags behind own writes
}

// recheck returns when to look again without an event; 0 for never.
func (o observed) recheck() time.Duration {
	var after time.Duration
	if !o.Pool.Until.IsZero() { // a certificate counts as expired after its last second
		after = max(o.Pool.Until.Sub(o.Now), 0) + time.Second
	}
	if o.behind && (after == 0 || after > settle) {
		after = settle
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
	o.State = State{Bundle: Owner{Name: b.Name, UID: b.UID}}
	if target := b.Spec.Target.ConfigMap; o.Refusal == nil && target != nil {
		o.Pool, err = r.publish(ctx, &b, o.memo, o.Now)
		if errors.As(err, &o.Refusal) {
			err = nil
		}
		if err != nil {
			return observed{}, err
		}
		o.State.Want = &Desired{Key: target.Key, Hash: contentHash(o.Pool.PEM, target.Metadata.Annotations, target.Metadata.Labels)}
	}
	if o.State.Refused = o.Refusal != nil; o.State.Refused {
		return o, nil
	}
	return o, r.observeTargets(ctx, &o)
}

// observeTargets reads namespaces and the metadata of their targets from the cache.
func (r *Reconciler) observeTargets(ctx context.Context, o *observed) (err error) {
	if o.Selector, err = selectorOf(o.Bundle.Spec.Target); err != nil {
		return fmt.Errorf("reading the namespace selector: %w", err)
	}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	o.State.Found = map[string]Found{}
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
		o.behind = o.behind || behind
	}
	return nil
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
