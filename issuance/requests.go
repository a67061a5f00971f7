package issuance

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
)

// +kubebuilder:rbac:groups=cert-manager.io,resources=signers,resourceNames=issuers.cert-manager.io/*;clusterissuers.cert-manager.io/*,verbs=approve

// Requests approves and signs CertificateRequests, whoever made them.
type Requests struct {
	Client  client.Client
	Cache   client.Reader
	Secrets *Secrets
	Signer  *Signer
	Events  record.EventRecorder
	Now     func() time.Time // nil means time.Now

	Approver Approver
	// Sign is false where only approval is our business.
	Sign    bool
	Workers int

	writer writer
}

// Setup registers what wakes the reconciler: a request, the issuer that it names, or the Secret with its private key.
// certificates, where that reconciler runs too, is asked which requests it is working on itself.
func (r *Requests) Setup(mgr ctrl.Manager, certificates *Certificates) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	r.writer = writer{client: r.Client, secrets: r.Secrets, written: &written{}, now: r.Now}
	if certificates != nil {
		r.writer.written = certificates.writer.written
	}
	return ctrl.NewControllerManagedBy(mgr).Named("certificaterequests").
		For(&cmapi.CertificateRequest{}, builder.WithPredicates(predicate.NewPredicateFuncs(waits))).
		Watches(&cmapi.Issuer{}, handler.EnqueueRequestsFromMapFunc(r.requestsTo), builder.WithPredicates(news)).
		Watches(&cmapi.ClusterIssuer{}, handler.EnqueueRequestsFromMapFunc(r.requestsTo), builder.WithPredicates(news)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.requestsKeyedBy), builder.WithPredicates(news)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Workers, RateLimiter: backOffLimiter(5 * time.Minute)}).
		Complete(newCounted(r, "certificaterequests"))
}

// waits tells whether there is anything to do about a request: of thousands, nearly all have come to their end.
func waits(obj client.Object) bool { return !settled(&obj.(*cmapi.CertificateRequest).Status) }

// Reconcile takes one request as far as it can go now.
func (r *Requests) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	req := &cmapi.CertificateRequest{}
	if err := r.Cache.Get(ctx, key.NamespacedName, req); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if req.DeletionTimestamp != nil || settled(&req.Status) {
		return ctrl.Result{}, nil
	}
	if r.writer.written.behind(requestID(req), req.ResourceVersion, r.Now()) {
		return ctrl.Result{RequeueAfter: writtenFor}, nil
	}
	if r.madeAtOnce(ctx, req) {
		return ctrl.Result{}, nil
	}
	next, problem, err := r.advance(ctx, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	again := ctrl.Result{}
	switch {
	case problem != nil && problem.Pending:
		again.RequeueAfter = pendingRecheck
	case r.Approver.Enabled && !serves(req.Spec.IssuerRef) && undecided(&next.Status):
		again.RequeueAfter = rightRecheck
	}
	if equality.Semantic.DeepEqual(&req.Status, &next.Status) {
		return again, nil
	}
	err = r.writer.updateRequestStatus(ctx, next)
	if outdated(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // whatever changed it brings it back
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	r.tell(req, next, problem)
	return again, nil
}

// madeAtOnce tells whether a request is for a key that was never more than in memory: it names the Certificate's own Secret, not a
// temporary one. Certificates writes its status or, when the process is gone that had the key, throws it away.
func (r *Requests) madeAtOnce(ctx context.Context, req *cmapi.CertificateRequest) bool {
	owner := metav1.GetControllerOfNoCopy(req)
	if owner == nil || owner.Kind != cmapi.CertificateKind || req.Annotations[annKeySecret] == "" {
		return false
	}
	cert := &cmapi.Certificate{}
	if r.Cache.Get(ctx, keyOf(req.Namespace, owner.Name), cert) != nil {
		return false
	}
	return cert.UID == owner.UID && cert.Spec.SecretName == req.Annotations[annKeySecret]
}

// pendingRecheck is when a request that waits is looked at again, for what its issuer got over before anybody noticed: then no
// event of the issuer tells.
const pendingRecheck = 5 * time.Minute

// undecided tells whether nobody has approved or denied a request yet.
func undecided(st *cmapi.CertificateRequestStatus) bool {
	return !isTrue(st, cmapi.CertificateRequestConditionApproved) && !isTrue(st, cmapi.CertificateRequestConditionDenied)
}

// rightRecheck is when a request to an issuer of another group is looked at again that we may not approve: no event tells of rights.
const rightRecheck = time.Minute

// settled tells whether a request has come to its end: issued, failed, or denied and said so.
func settled(st *cmapi.CertificateRequestStatus) bool {
	if isTrue(st, cmapi.CertificateRequestConditionInvalidRequest) {
		return true
	}
	ready := requestCondition(st, cmapi.CertificateRequestConditionReady)
	return ready != nil && ready.Reason != cmapi.CertificateRequestReasonPending
}

// advance returns the request as it is to be written: approved if it may be, and signed if it can be. The problem is why it was
// not signed.
func (r *Requests) advance(ctx context.Context, req *cmapi.CertificateRequest) (*cmapi.CertificateRequest, *issuer.Problem, error) {
	next, now := req.DeepCopy(), r.Now()
	st := &next.Status
	if isTrue(st, cmapi.CertificateRequestConditionDenied) {
		if serves(req.Spec.IssuerRef) && r.Sign {
			setDenied(st, now)
		}
		return next, nil, nil
	}
	if !isTrue(st, cmapi.CertificateRequestConditionApproved) {
		may, err := r.Approver.permits(ctx, req.Spec.IssuerRef, req.Namespace)
		if err != nil {
			return nil, nil, err
		}
		if !may {
			if r.Sign && serves(req.Spec.IssuerRef) {
				r.Events.Event(req, corev1.EventTypeNormal, "WaitingForApproval", "Not signing CertificateRequest until it is Approved")
			}
			return next, nil, nil
		}
		setApproved(st, now)
	}
	if !r.Sign || !serves(req.Spec.IssuerRef) {
		return next, nil, nil
	}
	signed, err := r.Signer.Sign(ctx, req.Namespace, &req.Spec, req.Annotations[annKeySecret], nil, now)
	if problem := problemOf(err); problem != nil {
		setProblem(st, now, problem)
		return next, problem, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("signing: %w", err)
	}
	if signed.BadConfig != "" {
		r.Events.Event(req, corev1.EventTypeWarning, reasonBadConfig, signed.BadConfig)
	}
	setIssued(st, now, signed)
	return next, nil, nil
}

// tell says what happened to a request: each thing once, when it becomes so. A problem's Event has the problem's own reason, the
// condition has Pending or Failed.
func (r *Requests) tell(was, is *cmapi.CertificateRequest, problem *issuer.Problem) {
	if !isTrue(&was.Status, cmapi.CertificateRequestConditionApproved) && isTrue(&is.Status, cmapi.CertificateRequestConditionApproved) {
		r.Events.Event(is, corev1.EventTypeNormal, approvedReason, approvedMessage)
	}
	ready := requestCondition(&is.Status, cmapi.CertificateRequestConditionReady)
	if ready == nil {
		return
	}
	switch {
	case ready.Reason == cmapi.CertificateRequestReasonIssued:
		r.Events.Event(is, corev1.EventTypeNormal, "CertificateIssued", ready.Message)
	case problem != nil && problem.Pending:
		r.Events.Event(is, corev1.EventTypeNormal, problem.Reason, problem.Message)
	case problem != nil:
		r.Events.Event(is, corev1.EventTypeWarning, problem.Reason, problem.Message)
	default:
		r.Events.Event(is, corev1.EventTypeWarning, ready.Reason, ready.Message)
	}
}

// requestsTo maps an issuer to the requests that wait for it.
func (r *Requests) requestsTo(ctx context.Context, obj client.Object) []reconcile.Request {
	kind := cmapi.IssuerKind
	if obj.GetNamespace() == "" {
		kind = cmapi.ClusterIssuerKind
	}
	return r.waiting(ctx, client.MatchingFields{indexIssuer: kind + "/" + obj.GetNamespace() + "/" + obj.GetName()})
}

// requestsKeyedBy maps a Secret to the requests that wait for the private key in it.
func (r *Requests) requestsKeyedBy(ctx context.Context, secret client.Object) []reconcile.Request {
	return r.waiting(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexKeySecret: secret.GetName()})
}

func (r *Requests) waiting(ctx context.Context, opts ...client.ListOption) []reconcile.Request {
	var list cmapi.CertificateRequestList
	if err := r.Cache.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil // the cache answers errors only before it has started
	}
	var out []reconcile.Request
	for i := range list.Items {
		if !settled(&list.Items[i].Status) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}
