package trust

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

// +kubebuilder:rbac:groups=trust.cert-manager.io,resources=bundles,verbs=get;list;watch
// +kubebuilder:rbac:groups=trust.cert-manager.io,resources=bundles/status,verbs=patch
// +kubebuilder:rbac:groups=trust.cert-manager.io,resources=bundles/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=list;watch
// +kubebuilder:rbac:groups="",namespace=cert-manager,resources=secrets,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Reconciler keeps the targets of every Bundle equal to its sources.
type Reconciler struct {
	// Client writes, and reads Secrets and ConfigMaps live.
	Client client.Client
	// Cache has Bundles, and metadata of ConfigMaps, Secrets and Namespaces.
	Cache client.Reader
	// Live reads Bundles and Namespaces past the cache, before something is taken back. Nil means the manager's API reader.
	Live   client.Reader
	Events record.EventRecorder
	Now    func() time.Time // nil means time.Now

	// TrustNamespace is where sources are read; empty means DefaultTrustNamespace.
	TrustNamespace string
	// FilterExpired leaves expired certificates out of every Bundle, each from the moment it expires.
	FilterExpired bool
	// FilterNonCA leaves certificates out that are no CA.
	FilterNonCA bool
	// Workers is how many Bundles are reconciled at a time; 0 means 4.
	Workers int
	// Parallel is how many targets are written at a time, all Bundles together; 0 means 32.
	Parallel int

	slots  chan struct{} // one for each write under way
	memory memory
	news   news

	mu    sync.Mutex
	memos map[string]*memo // by Bundle name
}

// Setup says what wakes a Bundle: itself, its sources, its targets, and namespaces that become or cease to be selected.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	r.init()
	inTrustNamespace := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == r.trustNamespace() })
	return ctrl.NewControllerManagedBy(mgr).Named("trust").
		For(&trustapi.Bundle{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.ConfigMap{}, r.configMapEvents()).
		WatchesMetadata(&corev1.Secret{}, r.sourceEvents("Secret"), builder.WithPredicates(inTrustNamespace)).
		WatchesMetadata(&corev1.Namespace{}, r.namespaceEvents()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 5*time.Minute),
		}).
		Complete(r)
}

// Reconcile brings the targets of one Bundle and its status to what they should be.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.Name) // all reads
	if err != nil {
		return ctrl.Result{}, err
	}
	if seen.Bundle == nil { // its targets go with it: it is their owner
		r.forget(req.Name)
		return ctrl.Result{}, nil
	}
	todo := plan(seen.State)
	done := r.apply(ctx, seen, todo) // writes targets; keeps going
	seen.remember(done)
	if err := r.report(ctx, seen, done); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: seen.recheck()}, nil
}

// remember keeps for the next reconciliation what this one has found and done.
func (o observed) remember(done []result) {
	if o.Refusal != nil {
		return // no namespace was looked at
	}
	o.memo.places.update(o, done)
	o.memo.last, o.memo.complete = o.pass, true
}

func (r *Reconciler) init() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Workers <= 0 {
		r.Workers = 4
	}
	if r.Parallel <= 0 {
		r.Parallel = 32
	}
	if r.slots == nil {
		r.slots = make(chan struct{}, r.Parallel)
		r.memos = map[string]*memo{}
	}
}

func (r *Reconciler) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Reconciler) trustNamespace() string {
	if r.TrustNamespace == "" {
		return DefaultTrustNamespace
	}
	return r.TrustNamespace
}

// memo returns what is remembered of a Bundle. The queue gives a Bundle to one worker at a time.
func (r *Reconciler) memo(name string) *memo {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memos[name]
	if m == nil {
		m = &memo{}
		r.memos[name] = m
	}
	return m
}

func (r *Reconciler) forget(name string) {
	r.mu.Lock()
	delete(r.memos, name)
	r.mu.Unlock()
	r.memory.forget(name)
	r.news.take(name)
	forgetMetrics(name)
}
