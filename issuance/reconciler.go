package issuance

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates/status,verbs=update
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates/finalizers,verbs=update
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificaterequests,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificaterequests/status,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete

// Certificates keeps the Secret of each Certificate filled with a valid key pair.
type Certificates struct {
	// Client writes; Cache reads Certificates, requests, issuers and the metadata of Secrets.
	Client  client.Client
	Cache   client.Reader
	Secrets *Secrets
	Signer  *Signer
	Events  record.EventRecorder
	Now     func() time.Time // nil means time.Now

	// Identity is who Client is: admission would stamp it on our requests, but is not asked about them.
	Identity Identity
	Approver Approver
	// SignAtOnce lets the reconciler have its own requests signed where the issuer can; without it they wait for whoever
	// signs requests.
	SignAtOnce bool
	BackOff    BackOff
	// OwnSecrets makes each Certificate own its Secret, so that both go together.
	OwnSecrets bool
	// CopiedAnnotations are prefixes of the annotations that a request inherits from its Certificate; "*" stands for all and
	// a leading "-" takes some away.
	CopiedAnnotations []string
	// Recheck is how often the clock is looked at for renewals and expiries: so late a clock that was set is noticed. Zero means 10 s.
	Recheck time.Duration
	// Workers is how many Certificates are worked on at a time. Zero means 1.
	Workers int

	writer  writer
	breaker breaker
	holdOff holdOff
	alarms  *alarms
}

// Identity is how the API server knows a client.
type Identity struct {
	Username, UID string
	Groups        []string
}

// Setup registers what wakes the reconciler: a Certificate, one of its requests, the Secret that it names, or the temporary
// Secret that holds its next key.
func (r *Certificates) Setup(mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Recheck == 0 {
		r.Recheck = 10 * time.Second
	}
	r.writer = writer{client: r.Client, secrets: r.Secrets, written: &written{}, now: r.Now, identity: r.Identity}
	r.alarms = newAlarms(r.Now, r.Recheck)
	return ctrl.NewControllerManagedBy(mgr).Named("certificates").
		For(&cmapi.Certificate{}).
		Owns(&cmapi.CertificateRequest{}, builder.WithPredicates(news)).
		WatchesMetadata(&corev1.Secret{}, forgetting{handler.EnqueueRequestsFromMapFunc(r.certificatesOf), r.Secrets}, builder.WithPredicates(news)).
		WatchesRawSource(r.alarms).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Workers, RateLimiter: backOffLimiter(30 * time.Second)}).
		Complete(newCounted(r, "certificates"))
}

// news leaves out what was there when a controller started: it looks at each of its own objects then, and thereby at all else.
var news = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}

// backOffLimiter retries a key that failed after 200 ms, doubling up to max.
func backOffLimiter(max time.Duration) workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, max)
}

// Reconcile brings one Certificate where its spec wants it: observe, decide, carry out.
func (r *Certificates) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s, history, err := r.observe(ctx, req.NamespacedName)
	switch {
	case s == nil:
		r.holdOff.forget(req.NamespacedName)
		r.alarms.set(req.NamespacedName, time.Time{})
		return ctrl.Result{}, err
	case err != nil:
		r.holdOff.failed(s.Cert, s.Now)
		return ctrl.Result{}, err
	case s.heldFor > 0:
		return ctrl.Result{RequeueAfter: s.heldFor}, nil
	case s.behind:
		return ctrl.Result{RequeueAfter: writtenFor}, nil
	}
	d, discard := decide(s.State)
	ctx, done := finishing(ctx)
	defer done()
	after, err := r.carryOut(ctx, s.State, d, discard)
	if err == nil {
		err = r.tidy(ctx, s, d, history)
	}
	if outdated(err) {
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	if leaving(err) {
		return ctrl.Result{}, nil
	}
	if err != nil {
		if r.holdOff.failed(s.Cert, s.Now) > 1 && ctx.Err() == nil {
			r.tellObstacle(ctx, s.State, d, err)
		}
		return ctrl.Result{}, err
	}
	r.holdOff.forget(req.NamespacedName)
	if soonest := s.Now.Add(time.Millisecond); !after.IsZero() && after.Before(soonest) {
		after = soonest
	}
	r.alarms.set(req.NamespacedName, after)
	return ctrl.Result{}, nil
}

// finishTime is how long work that has begun may go on when the daemon is told to stop.
const finishTime = 10 * time.Second

// finishing returns a context for carrying out what was decided: it outlives its parent by finishTime. Half an issuance, which loses its
// key with the process, costs the next daemon a request and a signature; the other half takes a moment.
func finishing(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() { time.AfterFunc(finishTime, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// certificatesOf maps a Secret to the Certificates that name it, or whose next key it holds.
func (r *Certificates) certificatesOf(ctx context.Context, secret client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, ref := range secret.GetOwnerReferences() {
		if ref.Kind == cmapi.CertificateKind && secret.GetLabels()[labelNextKey] == "true" {
			out = append(out, reconcile.Request{NamespacedName: keyOf(secret.GetNamespace(), ref.Name)})
		}
	}
	var locked cmapi.CertificateList
	err := r.Cache.List(ctx, &locked, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexPassword: secret.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return out // the cache answers errors only before it has started
	}
	siblings, err := certificatesFor(ctx, r.Cache, secret.GetNamespace(), secret.GetName())
	if err != nil {
		return out
	}
	for i := range locked.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&locked.Items[i])})
	}
	for i := range siblings {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&siblings[i])})
	}
	return out
}
