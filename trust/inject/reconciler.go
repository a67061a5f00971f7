package inject

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apiregistration.k8s.io,resources=apiservices,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Reconciler keeps the CA in every target of one kind.
type Reconciler struct {
	// Kind is one of Kinds.
	Kind Kind
	// Client writes.
	Client client.Client
	// Cache has Certificates, and metadata of Secrets and of the Kind.
	Cache client.Reader
	// Live reads targets and Secrets past the cache. Nil means the manager's API reader.
	Live   client.Reader
	Events record.EventRecorder
	Now    func() time.Time // nil means time.Now

	// APIServerCA returns what cert-manager.io/inject-apiserver-ca injects, see CAOf. Nil: there is none.
	APIServerCA func() ([]byte, error)
	// IgnoreNamespaces are those whose sources are not injected.
	IgnoreNamespaces []string
	// WithoutCertificates refuses Certificates as sources; they need not be watched then.
	WithoutCertificates bool
	// Workers is how many targets are reconciled at a time; 0 means 4.
	Workers int

	wakes wakes
	mu    sync.Mutex
	memos map[string]*memo // by the target's name; guarded by mu
}

// Setup says what wakes a target: itself, the Secret that its CA lies in, and the Certificate of that Secret.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Workers <= 0 {
		r.Workers = 4
	}
	b := ctrl.NewControllerManagedBy(mgr).Named(r.Kind.Controller()).
		For(r.Kind.Metadata(), builder.WithPredicates(asks)).
		WatchesMetadata(&corev1.Secret{}, r.sourceEvents(fromSecret), builder.WithPredicates(news)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 5*time.Minute),
		})
	if !r.WithoutCertificates {
		b = b.Watches(&cmapi.Certificate{}, r.sourceEvents(fromCertificate), builder.WithPredicates(news, predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(r)
}

// news leaves out the sources that were there at the start: each target is looked at then anyway.
var news = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}

// asks passes the events of objects that ask for injection, or did.
var asks = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return Keeps(e.Object) },
	UpdateFunc:  func(e event.UpdateEvent) bool { return Keeps(e.ObjectOld) || Keeps(e.ObjectNew) },
	DeleteFunc:  func(e event.DeleteEvent) bool { return Keeps(e.Object) },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// Reconcile brings the CA of one target up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.Name) // all reads
	if err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case seen.Target == nil:
		r.forget(req.Name)
		return ctrl.Result{}, nil
	case seen.Settled:
		return ctrl.Result{RequeueAfter: seen.recheck()}, nil
	}
	todo := plan(seen.State)
	done := r.apply(ctx, seen, todo) // the only write
	if err := r.report(seen, done); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: seen.recheck()}, nil
}

// observed is everything one reconciliation has read.
type observed struct {
	Target  *metav1.PartialObjectMetadata // as read last; nil: gone, going, or it asks for nothing
	Settled bool                          // nothing has changed since the last reconciliation, or it is too early to tell
	Ask     Ref
	Source  Ref
	Version string // of the source, as it was read
	State   State
	memo    *memo
}

func (r *Reconciler) observe(ctx context.Context, name string) (observed, error) {
	o := observed{Target: r.Kind.Metadata(), State: State{Now: r.now()}}
	err := r.Cache.Get(ctx, types.NamespacedName{Name: name}, o.Target)
	if apierrors.IsNotFound(err) || err == nil && o.Target.DeletionTimestamp != nil {
		return observed{}, nil
	}
	if err != nil {
		return observed{}, fmt.Errorf("looking up %s %s: %w", r.Kind.Kind, name, err)
	}
	o.Ask, o.State.Refusal = ParseRequest(o.Target.Annotations)
	if o.State.Refusal == nil && r.passesOver(o.Ask) {
		return observed{}, nil
	}
	o.memo = r.memo(name)
	if o.State.Refusal != nil {
		r.wakes.set(name)
		return o, nil
	}
	src, err := r.locate(ctx, name, o.Ask)
	if err != nil {
		return observed{}, err
	}
	o.Source = src.Ref
	if o.memo.covers(o.Target.UID, o.Target.ResourceVersion, src, o.State.Now) {
		o.Settled = true
		return o, nil
	}
	o.State.Source = "the API server's CA"
	if src.Ref.Kind == fromSecret {
		o.State.Source = nameOf(src.Ref)
	}
	o.State.CA, o.Version, o.State.Refusal, err = r.read(ctx, o.Ask, src)
	if err != nil || o.State.Refusal != nil {
		return o, err
	}
	return r.observeTarget(ctx, o)
}

// observeTarget reads the target live: its bundles, and the version that a write will be bound to.
func (r *Reconciler) observeTarget(ctx context.Context, o observed) (observed, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(r.Kind.GroupVersionKind)
	err := r.Live.Get(ctx, types.NamespacedName{Name: o.Target.Name}, live)
	if apierrors.IsNotFound(err) || err == nil && live.GetDeletionTimestamp() != nil {
		return observed{}, nil
	}
	if err != nil {
		return observed{}, fmt.Errorf("reading %s %s: %w", r.Kind.Kind, o.Target.Name, err)
	}
	ask, refusal := ParseRequest(live.GetAnnotations())
	if refusal != nil || ask != o.Ask { // the event that tells the cache so brings the target back
		o.Settled = true
		return o, nil
	}
	o.Target.UID, o.Target.ResourceVersion = live.GetUID(), live.GetResourceVersion()
	if o.State.Slots, err = r.Kind.slots(live.Object); err != nil {
		return observed{}, reconcile.TerminalError(fmt.Errorf("reading %s %s: %w", r.Kind.Kind, o.Target.Name, err))
	}
	return o, nil
}

// passesOver tells whether a request is none, or not for this daemon to see to.
func (r *Reconciler) passesOver(ask Ref) bool {
	switch ask.Kind {
	case "":
		return true
	case fromAPIServer:
		return false
	}
	return slices.Contains(r.IgnoreNamespaces, ask.Namespace)
}

// maxRecheck bounds how far a cleaning can be behind the wall clock: a timer knows nothing of a clock that was set. It is also
// how long a changed file with the API server's CA may go unnoticed, and the pause after a write that the API server refused.
const maxRecheck = 10 * time.Minute

// recheck returns when to look again without an event; 0 for never.
func (o observed) recheck() time.Duration {
	switch {
	case !o.memo.until.IsZero(): // a certificate counts as expired after its last second
		return min(max(o.memo.until.Sub(o.State.Now), 0)+time.Second, maxRecheck)
	case o.Ask.Kind == fromAPIServer:
		return maxRecheck
	}
	return 0
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// sourceEvents wakes the targets that an object feeds. The initial list wakes none: all targets are queued at the start anyway.
func (r *Reconciler) sourceEvents(kind string) handler.EventHandler {
	wake := func(obj client.Object, q queue) {
		ref := Ref{Kind: kind, NamespacedName: client.ObjectKeyFromObject(obj)}
		for _, target := range r.wakes.targets(ref) {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: target}})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				wake(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				wake(e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { wake(e.Object, q) },
	}
}

func (r *Reconciler) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// memo returns what is remembered of a target. The queue gives a target to one worker at a time.
func (r *Reconciler) memo(name string) *memo {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memos[name]
	if m == nil {
		m = &memo{}
		if r.memos == nil {
			r.memos = map[string]*memo{}
		}
		r.memos[name] = m
	}
	return m
}

// forget drops what is remembered of a target that is gone or no longer asks.
func (r *Reconciler) forget(name string) {
	r.mu.Lock()
	m := r.memos[name]
	delete(r.memos, name)
	r.mu.Unlock()
	if m != nil {
		r.count(m, "")
	}
	r.wakes.set(name)
}
