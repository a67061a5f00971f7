package source

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// observed is a State with the object that Events are about, and the Gateway of one that is a ListenerSet.
type observed struct {
	State
	object client.Object
	parent *gwapi.Gateway
}

// versions identifies all that a plan is made of.
func (s *observed) versions() [sha256.Size]byte {
	h := sha256.New()
	add := func(o client.Object) {
		fmt.Fprintf(h, "%s/%s %s %s\n", o.GetNamespace(), o.GetName(), o.GetUID(), o.GetResourceVersion())
	}
	add(s.object)
	if s.parent != nil {
		add(s.parent)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Certificates)) {
		add(s.Certificates[name])
	}
	return [sha256.Size]byte(h.Sum(nil))
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
	parent, err := r.gatewayOf(ctx, from, obj)
	if err != nil {
		return nil, err
	}
	src, err := parse(obj, parent, r.Policy)
	if err != nil {
		return nil, err
	}
	s := &observed{object: obj, parent: parent, State: State{
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

// gatewayOf reads the Gateway that a ListenerSet belongs to; nil when there is none, or when it is out of reach.
func (r *Reconciler) gatewayOf(ctx context.Context, from client.Reader, obj client.Object) (*gwapi.Gateway, error) {
	set, ok := obj.(*gwapi.ListenerSet)
	if !ok || r.Policy.outOfReach(parentOf(set)) {
		return nil, nil
	}
	parent := &gwapi.Gateway{}
	err := from.Get(ctx, parentOf(set), parent, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) || err == nil && parent.DeletionTimestamp != nil {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading Gateway %s: %w", parentOf(set), err)
	}
	return parent, nil
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
		found, err := r.standing(ctx, types.NamespacedName{Namespace: s.Source.Key.Namespace, Name: e.SecretName})
		if err != nil {
			return err
		}
		s.Taken[e.SecretName] = taken(e.SecretName, found)
	}
	return nil
}

// standing looks at what a Secret is to others, and what is in it. That there is none is a thing to be sure of, since issuing replaces
// what a Secret holds: the API server is asked, for metadata, and for the payload only where there is one, because its type and what
// it holds are not in the metadata.
func (r *Reconciler) standing(ctx context.Context, key types.NamespacedName) (standing, error) {
	if slices.Contains(r.Reserved, key) {
		return standing{Own: true}, nil
	}
	if issuer, field, err := r.namedBy(ctx, key); err != nil || issuer != "" {
		return standing{NamedBy: issuer, NamedIn: field}, err
	}
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.Live.Get(ctx, key, m); apierrors.IsNotFound(err) {
		return standing{}, nil
	} else if err != nil {
		return standing{}, fmt.Errorf("reading the metadata of Secret %s: %w", key, err)
	}
	secret := &corev1.Secret{}
	if err := r.Client.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return standing{}, nil
	} else if err != nil {
		return standing{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	s := standingOf(secret)
	if s.IssuedFor != "" && s.IssuedFor != key.Name {
		other := &cmapi.Certificate{}
		err := r.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: s.IssuedFor}, other)
		if client.IgnoreNotFound(err) != nil {
			return standing{}, fmt.Errorf("reading Certificate %s/%s: %w", key.Namespace, s.IssuedFor, err)
		}
		s.Elsewhere = err == nil && other.Spec.SecretName == key.Name
	}
	return s, nil
}

// namedBy returns an issuer that works with a Secret, and the field that names it.
func (r *Reconciler) namedBy(ctx context.Context, key types.NamespacedName) (issuer, field string, err error) {
	specs := map[string]*cmapi.IssuerSpec{}
	var issuers cmapi.IssuerList
	if err := r.Cache.List(ctx, &issuers, client.InNamespace(key.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", "", fmt.Errorf("listing Issuers: %w", err)
	}
	for i := range issuers.Items {
		specs[cmapi.IssuerKind+" "+issuers.Items[i].Name] = &issuers.Items[i].Spec
	}
	if key.Namespace == r.ClusterNamespace {
		var list cmapi.ClusterIssuerList
		if err := r.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return "", "", fmt.Errorf("listing ClusterIssuers: %w", err)
		}
		for i := range list.Items {
			specs[cmapi.ClusterIssuerKind+" "+list.Items[i].Name] = &list.Items[i].Spec
		}
	}
	for _, issuer := range slices.Sorted(maps.Keys(specs)) { // the same one each time: it is told in an Event
		field, err := namedIn(specs[issuer], key.Name)
		if err != nil {
			return "", "", fmt.Errorf("looking for Secret %s in %s: %w", key.Name, issuer, err)
		}
		if field != "" {
			return issuer, field, nil
		}
	}
	return "", "", nil
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
