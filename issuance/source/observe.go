package source

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// observed is a State with the object that Events are about.
type observed struct {
	State
	object client.Object
}

// observe reads a source and all that concerns it, from the cache or live; nil when there is no such source any more. What stands
// in a Certificate's way matters when one is about to be made, and is looked for only live.
func (r *Reconciler) observe(ctx context.Context, key types.NamespacedName, live bool) (*observed, error) {
	from := r.Cache
	if live {
		from = r.Live
	}
	k := kinds[r.Kind]
	obj := k.new()
	if err := from.Get(ctx, key, obj, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", r.Kind, key, err)
	}
	if obj.GetDeletionTimestamp() != nil { // its Certificates go by their owner reference
		return nil, nil
	}
	src, err := parse(ctx, from, obj, r.Policy)
	if err != nil {
		return nil, err
	}
	s := &observed{object: obj, State: State{
		Source: src, GVK: k.gvk, Manager: FieldManager(k.controller), Extra: r.Policy.ExtraCertificateAnnotations,
		Certificates: map[string]*cmapi.Certificate{}, Taken: map[string]string{},
	}}
	if src.Wish == nil {
		return s, nil
	}
	if err := r.observeCertificates(ctx, &s.State, from); err != nil {
		return nil, err
	}
	if live {
		err = r.observeSecrets(ctx, &s.State)
	}
	return s, err
}

// observeCertificates reads those of the names that are needed, and those that the source controls.
func (r *Reconciler) observeCertificates(ctx context.Context, s *State, from client.Reader) error {
	var list cmapi.CertificateList
	err := r.Cache.List(ctx, &list, client.InNamespace(s.Source.Key.Namespace),
		client.MatchingFields{r.indexController(): string(s.Source.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("listing the Certificates of %s %s: %w", r.Kind, s.Source.Key, err)
	}
	names := map[string]bool{}
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	for _, e := range s.Source.Entries {
		names[e.SecretName] = true
	}
	for name := range names {
		c := &cmapi.Certificate{}
		key := types.NamespacedName{Namespace: s.Source.Key.Namespace, Name: name}
		if err := from.Get(ctx, key, c, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("reading Certificate %s: %w", key, err)
		}
		s.Certificates[name] = c
	}
	return nil
}

// observeSecrets finds out which Secrets no Certificate may be made for.
func (r *Reconciler) observeSecrets(ctx context.Context, s *State) error {
	for _, e := range s.Source.Entries {
		if c := s.Certificates[e.SecretName]; c != nil && c.Spec.SecretName == e.SecretName {
			continue // whose Secret that is has been decided
		}
		key := types.NamespacedName{Namespace: s.Source.Key.Namespace, Name: e.SecretName}
		m := &metav1.PartialObjectMetadata{}
		m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		if err := r.Cache.Get(ctx, key, m, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("reading Secret %s from the cache: %w", key, err)
		}
		reason, err := r.inTheWay(ctx, key)
		if err != nil {
			return err
		}
		s.Taken[e.SecretName] = reason
	}
	return nil
}

// inTheWay looks at a Secret that is there: its payload is read because its type and what it holds are not in its metadata.
func (r *Reconciler) inTheWay(ctx context.Context, key types.NamespacedName) (string, error) {
	secret := &corev1.Secret{}
	if err := r.Client.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("reading Secret %s: %w", key, err)
	}
	s := standingOf(secret)
	if s.IssuedFor != "" && s.IssuedFor != key.Name {
		other := &cmapi.Certificate{}
		err := r.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: s.IssuedFor}, other)
		if client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("reading Certificate %s/%s: %w", key.Namespace, s.IssuedFor, err)
		}
		s.Elsewhere = err == nil && other.Spec.SecretName == key.Name
	}
	var err error
	s.Signs, err = r.signedWith(ctx, key)
	return taken(key.Name, s), err
}

// signedWith returns the issuer whose CA a Secret holds.
func (r *Reconciler) signedWith(ctx context.Context, key types.NamespacedName) (string, error) {
	var issuers cmapi.IssuerList
	if err := r.Cache.List(ctx, &issuers, client.InNamespace(key.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("listing Issuers: %w", err)
	}
	for i := range issuers.Items {
		if ca := issuers.Items[i].Spec.CA; ca != nil && ca.SecretName == key.Name {
			return "Issuer " + issuers.Items[i].Name, nil
		}
	}
	if key.Namespace != r.ClusterNamespace {
		return "", nil
	}
	var clusterIssuers cmapi.ClusterIssuerList
	if err := r.Cache.List(ctx, &clusterIssuers, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("listing ClusterIssuers: %w", err)
	}
	for i := range clusterIssuers.Items {
		if ca := clusterIssuers.Items[i].Spec.CA; ca != nil && ca.SecretName == key.Name {
			return "ClusterIssuer " + clusterIssuers.Items[i].Name, nil
		}
	}
	return "", nil
}

func controllerOf(o client.Object, kind string) *metav1.OwnerReference {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil && ref.Kind == kind {
		return ref
	}
	return nil
}

// sourcesOfCertificate maps a Certificate to the source that controls it, and to those that need its name or its Secret.
func (r *Reconciler) sourcesOfCertificate(ctx context.Context, o client.Object) []reconcile.Request {
	out := r.sourcesOfSecret(ctx, o)
	if c, ok := o.(*cmapi.Certificate); ok && c.Spec.SecretName != c.Name {
		out = append(out, r.find(ctx, client.InNamespace(c.Namespace), client.MatchingFields{indexSecret: c.Spec.SecretName})...)
	}
	if ref := controllerOf(o, r.Kind); ref != nil {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: ref.Name}})
	}
	return out
}

// sourcesOfSecret maps the name of a Secret to the sources that name it.
func (r *Reconciler) sourcesOfSecret(ctx context.Context, o client.Object) []reconcile.Request {
	return r.find(ctx, client.InNamespace(o.GetNamespace()), client.MatchingFields{indexSecret: o.GetName()})
}

// setsOfGateway maps a Gateway to its ListenerSets.
func (r *Reconciler) setsOfGateway(ctx context.Context, o client.Object) []reconcile.Request {
	return r.find(ctx, client.MatchingFields{indexParent: client.ObjectKeyFromObject(o).String()})
}

// find lists sources in the cache. An error would be that of a missing index.
func (r *Reconciler) find(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	list := kinds[r.Kind].list()
	if err := r.Cache.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	var out []reconcile.Request
	_ = meta.EachListItem(list, func(o runtime.Object) error {
		if c, ok := o.(client.Object); ok {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		}
		return nil
	})
	return out
}
