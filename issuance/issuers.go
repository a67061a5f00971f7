package issuance

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/validation"
)

// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers;clusterissuers,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers/status;clusterissuers/status,verbs=update

// Issuers keeps the Ready condition of Issuers, or of ClusterIssuers, true to what they can do.
type Issuers struct {
	// Kind is Issuer or ClusterIssuer.
	Kind    string
	Client  client.Client
	Cache   client.Reader
	Secrets *Secrets
	Events  record.EventRecorder
	Now     func() time.Time // nil means time.Now
	// ClusterNamespace is where the Secrets of ClusterIssuers lie.
	ClusterNamespace string
	// Lifetime is how the lifetime of a CA limits what it signs.
	Lifetime issuer.Lifetime
	// Recheck bounds how long a timer runs before the clock is looked at again, since a timer knows nothing of a clock that was set or a
	// machine that slept. Zero means ten minutes.
	Recheck time.Duration
}

// Setup registers what wakes the reconciler: an issuer, or the Secret that it signs with.
func (r *Issuers) Setup(mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Recheck == 0 {
		r.Recheck = 10 * time.Minute
	}
	name := "issuers"
	if r.Kind == cmapi.ClusterIssuerKind {
		name = "clusterissuers"
	}
	return ctrl.NewControllerManagedBy(mgr).Named(name).
		For(r.newObject()).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.issuersOf), builder.WithPredicates(news)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, RateLimiter: backOffLimiter(5 * time.Minute)}).
		Complete(newCounted(r, name))
}

func (r *Issuers) newObject() client.Object {
	if r.Kind == cmapi.ClusterIssuerKind {
		return &cmapi.ClusterIssuer{}
	}
	return &cmapi.Issuer{}
}

// Reconcile checks one issuer and says what came out.
func (r *Issuers) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	obj := r.newObject()
	if err := r.Cache.Get(ctx, key.NamespacedName, obj); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	spec, status, namespace := parts(obj)
	if r.Kind == cmapi.ClusterIssuerKind {
		namespace = r.ClusterNamespace
	}
	health, err := r.check(ctx, spec, namespace)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("checking the issuer: %w", err)
	}
	before := status.DeepCopy()
	setIssuerReady(status, obj.GetGeneration(), r.Now(), health)
	if !equality.Semantic.DeepEqual(before, status) {
		if err := updateIssuerStatus(ctx, r.Client, obj); err != nil {
			if outdated(err) || apierrors.IsNotFound(err) {
				return ctrl.Result{}, nil
			}
			return ctrl.Result{}, err
		}
		r.tell(obj, before, health)
	}
	if health.Recheck.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: min(max(health.Recheck.Sub(r.Now()), time.Millisecond), r.Recheck)}, nil
}

func (r *Issuers) check(ctx context.Context, spec *cmapi.IssuerSpec, namespace string) (issuer.Health, error) {
	found, err := issuer.New(spec, namespace, r.Secrets, r.Lifetime)
	if problem := problemOf(err); problem != nil {
		return issuer.Health{Reason: problem.Reason, Message: problem.Message}, nil
	}
	if err != nil {
		return issuer.Health{}, err
	}
	// Admission may have been passed by: a spec that says two things is not to be read as one of them.
	if errs, _ := validation.Issuer(spec, field.NewPath("spec")); len(errs) > 0 {
		return issuer.Health{Reason: reasonInvalidSpec, Message: errs.ToAggregate().Error()}, nil
	}
	return found.Check(ctx, r.Now())
}

// tell emits an Event when the condition's status or reason has changed.
func (r *Issuers) tell(obj client.Object, before *cmapi.IssuerStatus, h issuer.Health) {
	was := issuerCondition(before)
	if h.Message == "" || was != nil && was.Reason == h.Reason && was.Message == h.Message {
		return
	}
	kind := corev1.EventTypeNormal
	if !h.Ready {
		kind = corev1.EventTypeWarning
	}
	r.Events.Event(obj, kind, h.Reason, h.Message)
}

func parts(obj client.Object) (*cmapi.IssuerSpec, *cmapi.IssuerStatus, string) {
	if i, ok := obj.(*cmapi.Issuer); ok {
		return &i.Spec, &i.Status, i.Namespace
	}
	c := obj.(*cmapi.ClusterIssuer)
	return &c.Spec, &c.Status, ""
}

func setIssuerReady(st *cmapi.IssuerStatus, generation int64, now time.Time, h issuer.Health) {
	c := cmapi.IssuerCondition{
		Type: cmapi.IssuerConditionReady, Status: cmmeta.ConditionFalse, Reason: h.Reason, Message: h.Message,
		ObservedGeneration: generation, LastTransitionTime: ptr.To(seconds(now)),
	}
	if h.Ready {
		c.Status = cmmeta.ConditionTrue
	}
	if old := issuerCondition(st); old != nil {
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	st.Conditions = append(st.Conditions, c)
}

// issuersOf maps a Secret to the issuers that sign with it.
func (r *Issuers) issuersOf(ctx context.Context, secret client.Object) []reconcile.Request {
	opts := []client.ListOption{client.MatchingFields{indexCASecret: secret.GetName()}, client.UnsafeDisableDeepCopy}
	var out []reconcile.Request
	if r.Kind == cmapi.ClusterIssuerKind {
		if secret.GetNamespace() != r.ClusterNamespace {
			return nil
		}
		var list cmapi.ClusterIssuerList
		if r.Cache.List(ctx, &list, opts...) != nil {
			return nil
		}
		for i := range list.Items {
			out = append(out, reconcile.Request{NamespacedName: keyOf("", list.Items[i].Name)})
		}
		return out
	}
	var list cmapi.IssuerList
	if r.Cache.List(ctx, &list, append(opts, client.InNamespace(secret.GetNamespace()))...) != nil {
		return nil
	}
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: keyOf(list.Items[i].Namespace, list.Items[i].Name)})
	}
	return out
}
