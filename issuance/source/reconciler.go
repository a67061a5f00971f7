package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
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
	gwapi "sigs.k8s.io/gateway-api/apis/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses/finalizers,verbs=update
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways;listenersets,verbs=get;list;watch
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways/finalizers;listenersets/finalizers,verbs=update
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers;clusterissuers,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch

// Reconciler makes the Certificates of all sources of one kind.
type Reconciler struct {
	// Kind is KindIngress, KindGateway or KindListenerSet.
	Kind string
	// Client writes Certificates and reads Secrets live.
	Client client.Client
	// Cache has sources, Certificates and issuers.
	Cache client.Reader
	// Live reads sources, Certificates and the metadata of Secrets past the cache before something is written. Nil means the
	// manager's API reader.
	Live   client.Reader
	Events record.EventRecorder

	Policy Policy
	// ClusterNamespace is where the Secrets of ClusterIssuers lie.
	ClusterNamespace string
	// Reserved are Secrets that the daemon itself works with: no certificate is issued into them, whether or not they are there.
	Reserved []types.NamespacedName
	// Workers is how many sources are worked on at a time. Zero means 4.
	Workers int

	said    memory
	settled settled
}

// Indexes of the cache. The one of Certificates is for each kind its own, since each kind sets itself up.
const (
	indexSecret = "source.secret"
	indexParent = "source.parent"
)

func (r *Reconciler) indexController() string { return "source.controller." + r.Kind }

// recheck is how long something that was refused waits before it is looked at again: not all that stands in the way is watched.
const recheck = 10 * time.Minute

// Setup says what wakes a source: itself, its Certificates and those of the names that it needs, the end of a Secret that may be in
// its way, and for a ListenerSet its Gateway. A kind that the cluster does not serve is left out, with a line in the log.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	k := kinds[r.Kind]
	_, missing, err := Watched(mgr.GetRESTMapper(), r.Kind)
	if err != nil {
		return fmt.Errorf("setting up sources of kind %s: %w", r.Kind, err)
	}
	if missing != nil {
		mgr.GetLogger().Info("no Certificates are made for these objects: the cluster does not serve them; install their CRDs and start again",
			"kind", r.Kind, "missing", missing.String())
		return nil
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if err := r.indexFields(mgr.GetFieldIndexer()); err != nil {
		return err
	}
	workers := r.Workers
	if workers == 0 {
		workers = 4
	}
	b := ctrl.NewControllerManagedBy(mgr).Named(k.controller).
		For(k.new(), builder.WithPredicates(matters)).
		Watches(&cmapi.Certificate{}, handler.EnqueueRequestsFromMapFunc(r.sourcesOfCertificate), builder.WithPredicates(matters)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.sourcesOfSecret), builder.WithPredicates(ends)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 5*time.Minute),
		})
	if r.Kind == KindListenerSet {
		b = b.Watches(&gwapi.Gateway{}, handler.EnqueueRequestsFromMapFunc(r.setsOfGateway), builder.WithPredicates(matters))
	}
	return b.Complete(r)
}

// indexFields registers what sources and Certificates are looked up by.
func (r *Reconciler) indexFields(f client.FieldIndexer) error {
	k := kinds[r.Kind]
	add := func(obj client.Object, field string, of client.IndexerFunc) error {
		if err := f.IndexField(context.Background(), obj, field, of); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", obj, field, err)
		}
		return nil
	}
	if err := add(k.new(), indexSecret, k.secrets); err != nil {
		return err
	}
	if r.Kind == KindListenerSet {
		err := add(k.new(), indexParent, func(o client.Object) []string { return []string{parentOf(o.(*gwapi.ListenerSet)).String()} })
		if err != nil {
			return err
		}
	}
	return add(&cmapi.Certificate{}, r.indexController(), func(o client.Object) []string {
		if ref := controllerOf(o, r.Kind); ref != nil {
			return []string{string(ref.UID)}
		}
		return nil
	})
}

// Reconcile brings the Certificates of one source in line with it. A plan that writes is made once more on live objects; where that
// finds nothing to do, it is not made a third time until one of them changes.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.NamespacedName, false)
	if err != nil {
		return ctrl.Result{}, err
	}
	if seen == nil {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	todo := plan(seen.State)
	switch {
	case !writes(todo):
		r.settled.forget(req.NamespacedName)
	case r.settled.at(req.NamespacedName, seen.versions()):
		todo = nil
	default:
		if seen, err = r.observe(ctx, req.NamespacedName, true); err != nil || seen == nil {
			return ctrl.Result{}, err
		}
		if todo = plan(seen.State); len(todo) == 0 {
			r.settled.remember(req.NamespacedName, seen.versions())
		}
	}
	done := r.apply(ctx, todo)
	r.report(seen, done)
	return result(done)
}

// result returns when to look again: at once where something came between, later where something was refused.
func result(done []outcome) (ctrl.Result, error) {
	var out ctrl.Result
	var failed error
	for _, d := range done {
		_, refused := d.Action.(Refuse)
		switch {
		case outdated(d.Err):
			out.RequeueAfter = 100 * time.Millisecond
		case d.Err != nil && !terminal(d.Err):
			failed = errors.Join(failed, d.Err)
		case (refused || d.Err != nil) && out.RequeueAfter == 0:
			out.RequeueAfter = recheck
		}
	}
	if failed != nil {
		return ctrl.Result{}, failed
	}
	return out, nil
}

// matters drops updates that change nothing that a source or a Certificate is read for: status, above all.
var matters = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	o, n := e.ObjectOld, e.ObjectNew
	return o.GetUID() != n.GetUID() || o.GetGeneration() != n.GetGeneration() ||
		(o.GetDeletionTimestamp() == nil) != (n.GetDeletionTimestamp() == nil) ||
		!maps.Equal(o.GetLabels(), n.GetLabels()) || !maps.Equal(o.GetAnnotations(), n.GetAnnotations()) ||
		!apiequality.Semantic.DeepEqual(o.GetOwnerReferences(), n.GetOwnerReferences())
}}

// ends lets nothing through but the end of an object.
var ends = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}
