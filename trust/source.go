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
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// sourceRef names a source object in the trust namespace.
type sourceRef struct {
	Kind, Name string // Kind is ConfigMap or Secret
}

func (r sourceRef) String() string { return fmt.Sprintf("%s %q", r.Kind, r.Name) }

// pick is what one item of spec.sources takes from one object.
type pick struct {
	Key   string
	All   bool // every key
	Named bool // by name: the object must exist
}

// payload is a source object as read live; it is dropped when its inputs are parsed.
type payload struct {
	Version uint64
	TLS     bool     // a Secret of type kubernetes.io/tls
	Output  []string // the keys that the Bundle itself writes; none if the object is no target of it
	Values  map[string][]byte
}

// publish returns the Pool of a Bundle that passed check, from the memo if no source has changed. The error is a *Refusal
// or a failed read.
func (r *Reconciler) publish(ctx context.Context, b *trustapi.Bundle, m *memo, now time.Time) (Pool, error) {
	picks, versions, err := r.resolve(ctx, b)
	if err != nil {
		return Pool{}, err
	}
	if !m.covers(b.UID, b.Generation, versions, now) {
		inputs, read, err := r.read(ctx, b, picks)
		var pool Pool
		if err == nil {
			pool, err = assemble(inputs, Options{FilterExpired: r.FilterExpired, FilterNonCA: r.FilterNonCA}, now)
		}
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			return Pool{}, err
		}
		maps.Copy(versions, read) // what was not read any more, after a refusal, counts as the cache has it
		m.uid, m.generation, m.versions, m.refusal, m.until = b.UID, b.Generation, versions, refusal, pool.Until
		if refusal == nil {
			m.before, m.pool = m.pool.Certificates, pool
		}
	}
	if m.refusal != nil {
		return Pool{}, m.refusal
	}
	return m.pool, nil
}

// resolve lists, from cached metadata, which objects the sources name or select, with their versions; 0 for a named object
// that the cache does not have.
func (r *Reconciler) resolve(ctx context.Context, b *trustapi.Bundle) (map[sourceRef][]pick, map[sourceRef]uint64, error) {
	picks, versions := map[sourceRef][]pick{}, map[sourceRef]uint64{}
	for _, s := range b.Spec.Sources {
		for kind, sel := range map[string]*trustapi.SourceObjectKeySelector{"ConfigMap": s.ConfigMap, "Secret": s.Secret} {
			if sel == nil {
				continue
			}
			objects, err := r.matching(ctx, kind, sel)
			if err != nil {
				return nil, nil, err
			}
			for name, version := range objects {
				ref := sourceRef{Kind: kind, Name: name}
				versions[ref] = version
				picks[ref] = append(picks[ref], pick{Key: sel.Key, All: ptr.Deref(sel.IncludeAllKeys, false), Named: sel.Name != ""})
			}
		}
	}
	return picks, versions, nil
}

// matching returns name and version of the objects one selector means.
func (r *Reconciler) matching(ctx context.Context, kind string, sel *trustapi.SourceObjectKeySelector) (map[string]uint64, error) {
	gvk := corev1.SchemeGroupVersion.WithKind(kind)
	if sel.Name != "" {
		var obj metav1.PartialObjectMetadata
		obj.SetGroupVersionKind(gvk)
		key := types.NamespacedName{Namespace: r.trustNamespace(), Name: sel.Name}
		err := r.Cache.Get(ctx, key, &obj, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("looking up %s %s: %w", kind, key, err)
		}
		return map[string]uint64{sel.Name: shared.Version(obj.ResourceVersion)}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(sel.Selector)
	if err != nil {
		return nil, fmt.Errorf("reading a source selector: %w", err)
	}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(kind + "List"))
	err = r.Cache.List(ctx, &list, client.InNamespace(r.trustNamespace()), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing %s sources: %w", kind, err)
	}
	found := map[string]uint64{}
	for i := range list.Items {
		found[list.Items[i].Name] = shared.Version(list.Items[i].ResourceVersion)
	}
	return found, nil
}

// read fetches each object once, live, and returns what the sources take from it with the versions read.
func (r *Reconciler) read(ctx context.Context, b *trustapi.Bundle, picks map[sourceRef][]pick) ([]Input, map[sourceRef]uint64, error) {
	var inputs []Input
	for i, s := range b.Spec.Sources {
		if s.InLine != "" {
			inputs = append(inputs, Input{From: fmt.Sprintf("spec.sources[%d].inLine", i), PEM: []byte(s.InLine)})
		}
	}
	versions := map[sourceRef]uint64{}
	refs := slices.SortedFunc(maps.Keys(picks), func(a, b sourceRef) int {
		return slices.Compare([]string{a.Kind, a.Name}, []string{b.Kind, b.Name})
	})
	for _, ref := range refs {
		obj, err := r.fetch(ctx, b, ref)
		if err != nil {
			return nil, versions, err
		}
		if obj != nil {
			versions[ref] = obj.Version
		}
		taken, refusal := take(ref, r.trustNamespace(), obj, picks[ref])
		if refusal != nil {
			return nil, versions, refusal
		}
		inputs = append(inputs, taken...)
		if err := checkSizes(inputs); err != nil { // before the next object is held too
			return nil, versions, err
		}
	}
	return inputs, versions, nil
}

// fetch reads one source live; nil if it does not exist.
func (r *Reconciler) fetch(ctx context.Context, b *trustapi.Bundle, ref sourceRef) (*payload, error) {
	key := types.NamespacedName{Namespace: r.trustNamespace(), Name: ref.Name}
	var secret corev1.Secret
	var configMap corev1.ConfigMap
	obj := client.Object(&configMap)
	if ref.Kind == "Secret" {
		obj = &secret
	}
	if err := r.Client.Get(ctx, key, obj); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading %s of namespace %s: %w", ref, key.Namespace, err)
	}
	p := &payload{Version: shared.Version(obj.GetResourceVersion()), TLS: secret.Type == corev1.SecretTypeTLS, Values: secret.Data}
	if ref.Kind == "ConfigMap" {
		p.Values = map[string][]byte{}
		maps.Copy(p.Values, configMap.BinaryData)
		for k, v := range configMap.Data {
			p.Values[k] = []byte(v)
		}
		p.Output = outputKeys(b, configMap.ObjectMeta)
	}
	return p, nil
}

// outputKeys returns the keys of a ConfigMap that the Bundle itself writes, or has written; none if it is no target of it. A ConfigMap
// that merely has the Bundle's name is a source like any other.
func outputKeys(b *trustapi.Bundle, meta metav1.ObjectMeta) []string {
	target := b.Spec.Target.ConfigMap
	if target == nil || meta.Name != b.Name {
		return nil
	}
	found := parseFound(&metav1.PartialObjectMetadata{ObjectMeta: meta}, map[string][]string{})
	if !found.ours(Owner{Name: b.Name, UID: b.UID}) {
		return nil
	}
	return union(found.Keys, []string{target.Key})
}

// take returns the inputs that picks take from an object; a nil object does not exist. From a target of the Bundle itself a selector
// takes what others keep there: a Bundle that feeds itself never lets go of a certificate. No key has to be there.
func take(ref sourceRef, namespace string, obj *payload, picks []pick) ([]Input, *Refusal) {
	var inputs []Input
	taken := map[string]bool{}
	for _, p := range picks {
		if obj == nil {
			if p.Named {
				return nil, refuse(reasonSourceNotFound, "%s does not exist in the trust namespace %q; create it there, or correct its name in spec.sources", ref, namespace)
			}
			continue
		}
		if p.All && obj.TLS {
			return nil, refuse(reasonSourceBuildError,
				"%s is of type %s and holds a private key, so includeAllKeys is refused; name the key instead (ca.crt or tls.crt)", ref, corev1.SecretTypeTLS)
		}
		keys := []string{p.Key}
		if p.All {
			keys = slices.Sorted(maps.Keys(obj.Values))
		}
		for _, k := range keys {
			value, ok := obj.Values[k]
			if len(obj.Output) > 0 && !p.Named && (slices.Contains(obj.Output, k) || !ok) {
				continue
			}
			if !ok {
				return nil, refuse(reasonSourceNotFound, "%s in the trust namespace %q has no key %q; add it, or correct the key in spec.sources", ref, namespace, k)
			}
			if !taken[k] {
				taken[k] = true
				inputs = append(inputs, Input{From: fmt.Sprintf("%s key %q", ref, k), PEM: value})
			}
		}
	}
	return inputs, nil
}

// uses tells whether a source of the Bundle names or selects an object with these labels.
func uses(b *trustapi.Bundle, ref sourceRef, set labels.Set) bool {
	for _, s := range b.Spec.Sources {
		sel := s.ConfigMap
		if ref.Kind == "Secret" {
			sel = s.Secret
		}
		if sel == nil {
			continue
		}
		if sel.Name == ref.Name {
			return true
		}
		if sel.Selector == nil {
			continue
		}
		if selector, err := metav1.LabelSelectorAsSelector(sel.Selector); err == nil && selector.Matches(set) {
			return true
		}
	}
	return false
}
