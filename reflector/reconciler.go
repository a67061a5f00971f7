package reflector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Reconciler keeps the mirrors of every source of one kind as its annotations ask. There is one for Secrets and one for
// ConfigMaps; IndexFields comes before their Setup.
type Reconciler struct {
	// Kind is KindSecret or KindConfigMap.
	Kind string
	// Client writes, and reads Secrets and ConfigMaps live.
	Client client.Client
	// Cache holds the metadata of Namespaces and of Kind. It needs the fields of IndexFields.
	Cache client.Reader
	// Events receives what people have to know, on the source or the mirror concerned.
	Events record.EventRecorder
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// Namespace is the daemon's own. It takes automatic mirrors only with its consent.
	Namespace string
	// ExcludedNamespaces are globs (* and ?): objects there are neither sources nor direct mirrors. Automatic mirrors are
	// created there all the same (emberstack Reflector's behaviour).
	ExcludedNamespaces []string
	// Workers is how many sources are reconciled at a time. Zero means 4.
	Workers int
	// Parallel is how many writes are under way at a time, over all sources. Zero means 32.
	Parallel int

	memory memory
	slots  chan struct{} // holds one per write under way
	init   sync.Once
	globs  globs
}

// Setup says what wakes a source: itself, its mirrors, what stands in a mirror's place, and namespaces.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	if r.Kind != KindSecret && r.Kind != KindConfigMap {
		return fmt.Errorf("setting up the reflector: there is no kind %q", r.Kind)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("reflector-"+strings.ToLower(r.Kind)).
		WatchesMetadata(newObject(r.Kind), r.objectEvents()).
		WatchesMetadata(&corev1.Namespace{}, r.namespaceEvents(), builder.WithPredicates(namespaceMatters)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: orDefault(r.Workers, 4),
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 5*time.Minute),
		}).
		Complete(r)
}

// Reconcile brings the mirrors of the source that req names in line with it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if r.excluded(req.Namespace) {
		return ctrl.Result{}, nil
	}
	seen, err := r.observe(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	var data payload
	todo := plan(seen)
	if writes(todo) {
		if seen, data, err = r.confirm(ctx, seen); err != nil {
			return ctrl.Result{}, err
		}
		todo = plan(seen)
	}
	done := r.apply(ctx, seen, data, todo)
	r.report(seen, done)
	if err := retryable(done); err != nil {
		return ctrl.Result{}, err
	}
	if r.memory.pending(seen.Key) {
		return ctrl.Result{RequeueAfter: settle}, nil // by then the cache shows our writes, or we look again
	}
	return ctrl.Result{}, nil
}

// observe reads a source and all that concerns it from the cache.
func (r *Reconciler) observe(ctx context.Context, key types.NamespacedName) (State, error) {
	meta := r.metadata(key)
	if err := r.Cache.Get(ctx, key, meta, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
		return r.survey(ctx, key, nil)
	} else if err != nil {
		return State{}, fmt.Errorf("reading %s %s from the cache: %w", r.Kind, key, err)
	}
	return r.survey(ctx, key, r.memory.source(meta, r.now()))
}

// confirm reads the source live and looks again with what it says.
func (r *Reconciler) confirm(ctx context.Context, seen State) (State, payload, error) {
	live := newObject(r.Kind)
	if err := r.Client.Get(ctx, seen.Key, live); apierrors.IsNotFound(err) {
		if seen.Source == nil {
			return seen, payload{}, nil
		}
		seen, err = r.survey(ctx, seen.Key, nil)
		return seen, payload{}, err
	} else if err != nil {
		return seen, payload{}, fmt.Errorf("reading %s %s: %w", r.Kind, seen.Key, err)
	}
	source := r.memory.source(live, r.now())
	data := payloadOf(live)
	r.memory.learn(source, data.content(seen.Key))
	seen, err := r.survey(ctx, seen.Key, source)
	return seen, data, err
}

// survey looks at the namespaces, the mirrors and what stands in their place.
func (r *Reconciler) survey(ctx context.Context, key types.NamespacedName, source *Source) (State, error) {
	s := State{Key: key, Source: source}
	if err := r.surveyPlaces(ctx, &s); err != nil {
		return s, err
	}
	objects := map[types.NamespacedName]Object{}
	mirrors, err := r.list(ctx, client.MatchingFields{indexReflects: key.String()})
	if err != nil {
		return s, err
	}
	for i := range mirrors {
		o := objectOf(&mirrors[i])
		objects[o.Key] = o
	}
	if s.Source != nil {
		s.Content = r.memory.content(s.Source)
		if err := r.surveyTargets(ctx, &s, objects); err != nil {
			return s, err
		}
	}
	r.memory.overlay(key, objects, r.now())
	s.Objects = slices.SortedFunc(maps.Values(objects), func(a, b Object) int {
		return strings.Compare(a.Key.String(), b.Key.String())
	})
	return s, nil
}

// surveyPlaces judges every namespace. A pattern that can't be evaluated becomes a problem of the source.
func (r *Reconciler) surveyPlaces(ctx context.Context, s *State) error {
	var namespaces metav1.PartialObjectMetadataList
	namespaces.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "NamespaceList"})
	if err := r.Cache.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing namespaces from the cache: %w", err)
	}
	judge := s.Source
	if judge == nil {
		judge = &Source{Key: s.Key}
	}
	s.Places = make(map[string]Place, len(namespaces.Items))
	for i := range namespaces.Items {
		p, err := placeOf(judge, &namespaces.Items[i], r.Namespace, r.excludedGlobs())
		if err != nil {
			s.Source = r.memory.blame(s.Source, Problem{Reason: InvalidPattern, Note: err.Error()})
			return nil
		}
		s.Places[p.Namespace] = p
	}
	return nil
}

// surveyTargets adds whatever has the source's name where a mirror is wanted.
func (r *Reconciler) surveyTargets(ctx context.Context, s *State, objects map[types.NamespacedName]Object) error {
	for name, p := range s.Places {
		if !wanted(*s, p) {
			continue
		}
		key := types.NamespacedName{Namespace: name, Name: s.Key.Name}
		if _, seen := objects[key]; seen {
			continue
		}
		meta := r.metadata(key)
		if err := r.Cache.Get(ctx, key, meta, client.UnsafeDisableDeepCopy); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("reading %s %s from the cache: %w", r.Kind, key, err)
		}
		objects[key] = objectOf(meta)
	}
	return nil
}

// list returns the cached metadata that an index finds; it belongs to the cache.
func (r *Reconciler) list(ctx context.Context, opts ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	var found metav1.PartialObjectMetadataList
	found.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: r.Kind + "List"})
	if err := r.Cache.List(ctx, &found, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("listing %ss from the cache: %w", r.Kind, err)
	}
	return found.Items, nil
}

// retryable joins the errors that a later attempt may not meet.
func retryable(done []result) error {
	var errs []error
	for _, d := range done {
		if d.Err != nil && !terminal(d.Err) {
			errs = append(errs, d.Err)
		}
	}
	return errors.Join(errs...)
}

func (r *Reconciler) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Reconciler) excluded(namespace string) bool { return r.excludedGlobs().match(namespace) }

func (r *Reconciler) excludedGlobs() globs {
	r.prepare()
	return r.globs
}

func (r *Reconciler) writeSlots() chan struct{} {
	r.prepare()
	return r.slots
}

// prepare derives from the settings what is used all the time.
func (r *Reconciler) prepare() {
	r.init.Do(func() {
		r.globs = parseGlobs(r.ExcludedNamespaces)
		r.slots = make(chan struct{}, orDefault(r.Parallel, 32))
	})
}

func orDefault(n, fallback int) int {
	if n > 0 {
		return n
	}
	return fallback
}
