package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

// mustBeAbsent is a version that no object ever has (etcd's first write is revision 2). The API server compares an applied
// version with the stored object's and ignores it if there is none: applying at this version creates, or conflicts.
const mustBeAbsent = "1"

// errStale says that a decision was made on a view that is outdated by now. The next reconciliation decides again.
var errStale = errors.New("the cache is behind")

// result is what became of an Action.
type result struct {
	Action
	Err error
}

// gone tells that there is no place for a target any more, and no wish for one either.
func (r result) gone() bool {
	return !r.stale() && (apierrors.IsNotFound(r.Err) || apierrors.HasStatusCause(r.Err, corev1.NamespaceTerminatingCause))
}

// stale tells that the decision was outdated, or could not be confirmed, and is to be made again.
func (r result) stale() bool { return errors.Is(r.Err, errStale) || apierrors.IsConflict(r.Err) }

// failed tells that the write has to be tried again.
func (r result) failed() bool { return r.Err != nil && !r.stale() && !r.gone() }

// apply carries out the actions, at most Parallel writes at a time over all Bundles. A failure stops nothing else.
func (r *Reconciler) apply(ctx context.Context, o observed, todo []Action) []result {
	done := make([]result, len(todo))
	unconfirmed := r.confirm(ctx, o, todo)
	target, broken := encodeTarget(o, todo)
	var wg sync.WaitGroup
	write := func(res *result, do func() error) {
		r.slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-r.slots }()
			res.Err = do()
		})
	}
	for i, action := range todo {
		done[i].Action = action
		switch a := action.(type) {
		case Clean:
			if done[i].Err = unconfirmed; unconfirmed == nil {
				write(&done[i], func() error { return r.clean(ctx, o, a) })
			}
		case Apply:
			if done[i].Err = broken; broken == nil {
				write(&done[i], func() error { return r.applyTarget(ctx, o, a, target) })
			}
		}
	}
	wg.Wait()
	return done
}

// applyTarget writes one target.
func (r *Reconciler) applyTarget(ctx context.Context, o observed, a Apply, target encoded) error {
	key := types.NamespacedName{Namespace: a.Namespace, Name: o.Bundle.Name}
	if a.Version == "" {
		return r.serverSideApply(ctx, key, target.at(mustBeAbsent, ""), o.Now)
	}
	return r.serverSideApply(ctx, key, target.at(a.Version, a.UID), o.Now, client.ForceOwnership)
}

// targetMetadata is a target's metadata as trust-manager writes it, field by field.
func targetMetadata(b *trustapi.Bundle, want Desired) *corev1ac.ConfigMapApplyConfiguration {
	template := b.Spec.Target.ConfigMap.Metadata
	return (&corev1ac.ConfigMapApplyConfiguration{}).
		WithName(b.Name).
		WithLabels(template.Labels).
		WithLabels(map[string]string{LabelBundle: b.Name}).
		WithAnnotations(template.Annotations).
		WithAnnotations(map[string]string{AnnotationHash: want.Hash}).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(trustapi.SchemeGroupVersion.String()).WithKind(trustapi.BundleKind).
			WithName(b.Name).WithUID(b.UID).
			WithController(true).WithBlockOwnerDeletion(true))
}

// encoded is a ConfigMap in JSON but for its version: whatever follows that in the text.
type encoded []byte

// encodeTarget encodes, once for all targets of a Bundle, all that is the same in them; nil if none is to be written.
func encodeTarget(o observed, todo []Action) (encoded, error) {
	if !slices.ContainsFunc(todo, func(a Action) bool { _, ok := a.(Apply); return ok }) {
		return nil, nil
	}
	metadata, err := json.Marshal(targetMetadata(o.Bundle, *o.State.Want).ObjectMetaApplyConfiguration)
	if err != nil {
		return nil, fmt.Errorf("encoding the metadata of Bundle %s's targets: %w", o.Bundle.Name, err)
	}
	data, err := json.Marshal(map[string]string{o.State.Want.Key: o.Pool.PEM})
	if err != nil {
		return nil, fmt.Errorf("encoding the data of Bundle %s: %w", o.Bundle.Name, err)
	}
	return slices.Concat([]byte(","), metadata[1:], []byte(`,"data":`), data, []byte("}")), nil
}

// nothing is a ConfigMap without any field of ours.
var nothing = encoded("}}")

// at completes the text with the version to apply at, and the UID of the object that has it: that keeps the apply from making one
// that is gone. The namespace is the request's.
func (e encoded) at(version string, uid types.UID) []byte {
	text := fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":%q`, version)
	if uid != "" {
		text = fmt.Appendf(text, `,"uid":%q`, uid)
	}
	return slices.Concat(text, e)
}

// serverSideApply sends a ConfigMap's text and remembers the answer. The answer is asked for as metadata: it spares sending each
// bundle back. The text is ours, so the server need not look for unknown fields in it.
func (r *Reconciler) serverSideApply(ctx context.Context, key types.NamespacedName, body []byte, now time.Time, opts ...client.PatchOption) error {
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	answer.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	opts = append(opts, client.FieldOwner(FieldManager), client.FieldValidation(metav1.FieldValidationIgnore))
	if err := r.Client.Patch(ctx, answer, client.RawPatch(types.ApplyYAMLPatchType, body), opts...); err != nil {
		return fmt.Errorf("applying ConfigMap %s: %w", key, err)
	}
	r.memory.remember(key, parseFound(answer, map[string][]string{}), false, now)
	return nil
}

// confirm reads a Bundle live before any of its targets is taken back: the spec in the cache may be outdated.
func (r *Reconciler) confirm(ctx context.Context, o observed, todo []Action) error {
	if !slices.ContainsFunc(todo, func(a Action) bool { _, ok := a.(Clean); return ok }) {
		return nil
	}
	var live trustapi.Bundle
	if err := r.Live.Get(ctx, types.NamespacedName{Name: o.Bundle.Name}, &live); err != nil {
		return fmt.Errorf("reading Bundle %s: %w (%w)", o.Bundle.Name, err, errStale)
	}
	if live.UID != o.Bundle.UID || live.Generation != o.Bundle.Generation {
		return errStale
	}
	return nil
}

// clean takes back one target: the ConfigMap if all its data is the Bundle's, else only what the Bundle put there, so that
// it belongs to those who own the rest.
func (r *Reconciler) clean(ctx context.Context, o observed, a Clean) error {
	if o.State.Want != nil {
		if err := r.confirmDeselected(ctx, o, a.Namespace); err != nil {
			return err
		}
	}
	key := types.NamespacedName{Namespace: a.Namespace, Name: o.Bundle.Name}
	var live corev1.ConfigMap
	if err := r.Client.Get(ctx, key, &live); err != nil {
		return fmt.Errorf("reading ConfigMap %s: %w", key, err)
	}
	if live.UID != a.UID || live.ResourceVersion != a.Version {
		return errStale
	}
	if onlyOurs(&live) {
		err := r.Client.Delete(ctx, &live, client.Preconditions{UID: &a.UID, ResourceVersion: &a.Version})
		if err != nil {
			return fmt.Errorf("deleting ConfigMap %s: %w", key, err)
		}
		r.memory.remember(key, Found{UID: a.UID, Version: a.Version}, true, o.Now)
		return nil
	}
	return r.serverSideApply(ctx, key, nothing.at(a.Version, a.UID), o.Now, client.ForceOwnership)
}

// confirmDeselected reads a namespace live: the labels in the cache may be outdated.
func (r *Reconciler) confirmDeselected(ctx context.Context, o observed, namespace string) error {
	var ns metav1.PartialObjectMetadata
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.Live.Get(ctx, types.NamespacedName{Name: namespace}, &ns); err != nil {
		return fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	if o.Selector.Matches(labels.Set(ns.Labels)) {
		return errStale
	}
	return nil
}

// onlyOurs tells whether FieldManager, and no one beside it, owns every data key.
func onlyOurs(c *corev1.ConfigMap) bool {
	ours, others := map[string]bool{}, map[string]bool{}
	for _, e := range c.ManagedFields {
		if e.FieldsV1 == nil {
			continue
		}
		for _, k := range dataKeys(e.FieldsV1.GetRawString()) {
			if e.Manager == FieldManager {
				ours[k] = true
			} else {
				others[k] = true
			}
		}
	}
	for k := range c.Data {
		if !ours[k] || others[k] {
			return false
		}
	}
	for k := range c.BinaryData {
		if !ours[k] || others[k] {
			return false
		}
	}
	return true
}
