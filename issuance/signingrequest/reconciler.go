package signingrequest

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
)

// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests,verbs=get;list;watch
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests/status,verbs=update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=signers,resourceNames=issuers.cert-manager.io/*;clusterissuers.cert-manager.io/*,verbs=sign
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers;clusterissuers,verbs=get;list;watch

// Component is the source of Events, and with "-issuer-" and the issuer's type behind it the source of those that an issuer has a
// part in, and the field manager of the status: cert-manager's names, so that a takeover changes no owner of a field.
const Component = "cert-manager-certificatesigningrequests"

// Signer has an issuer sign. keySecret names the Secret with the request's private key, in namespace. An error is an
// *issuer.Problem, or one of the API's, worth a retry.
type Signer interface {
	Sign(ctx context.Context, namespace string, spec *cmapi.CertificateRequestSpec, keySecret string, key crypto.Signer, now time.Time) (issuer.Signed, error)
}

// Reconciler signs approved CertificateSigningRequests that name one of our issuers.
type Reconciler struct {
	// Client writes, Cache has requests, issuers and the metadata of Secrets, Live is the API server.
	Client client.Client
	Cache  client.Reader
	Live   client.Reader
	Signer Signer
	// Events returns the recorder of a component.
	Events func(component string) record.EventRecorder
	Now    func() time.Time // nil means time.Now
	// ClusterNamespace is where the Secrets of ClusterIssuers lie.
	ClusterNamespace string
	// Workers is how many requests are worked on at a time. Zero means 4.
	Workers int

	told told
}

// Setup registers what wakes the reconciler: a request, the issuer that it names, or the Secret with its private key.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Workers == 0 {
		r.Workers = 4
	}
	if err := indexFields(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("certificatesigningrequests").
		For(&certificatesv1.CertificateSigningRequest{}).
		Watches(&cmapi.Issuer{}, handler.EnqueueRequestsFromMapFunc(r.requestsTo)).
		Watches(&cmapi.ClusterIssuer{}, handler.EnqueueRequestsFromMapFunc(r.requestsTo)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.requestsKeyedBy)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 5*time.Minute),
		}).
		Complete(r)
}

// pendingRecheck is when a request that waits for a Secret is looked at again, for one that nothing has told us of.
const pendingRecheck = 5 * time.Minute

// conflictRecheck is when a request is looked at again that somebody changed while it was signed.
const conflictRecheck = 100 * time.Millisecond

// Reconcile takes one request as far as it can go now.
func (r *Reconciler) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	s, err := r.observe(ctx, key.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if s == nil {
		r.told.forget(key.Name)
		return ctrl.Result{}, nil
	}
	d := decide(*s)
	if _, ok := d.(Review); ok {
		if d, err = r.review(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	again := ctrl.Result{}
	if sign, ok := d.(Sign); ok {
		if d, err = r.sign(ctx, s, sign); err != nil {
			return ctrl.Result{}, err
		}
		if _, waits := d.(Wait); waits {
			again.RequeueAfter = pendingRecheck
		}
	}
	err = apply(ctx, r.Client, s.Request, d, component(s.Issuer), r.Now())
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: conflictRecheck}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	r.report(s, d)
	return again, nil
}

// observe reads everything that a decision about a request depends on; nil when there is no such request. One that may be written
// is read from the API server, so that a cache which is behind does not have it signed twice.
func (r *Reconciler) observe(ctx context.Context, name string) (*State, error) {
	req := &certificatesv1.CertificateSigningRequest{}
	err := r.Cache.Get(ctx, client.ObjectKey{Name: name}, req)
	if err == nil && signable(req) {
		req = &certificatesv1.CertificateSigningRequest{}
		err = r.Live.Get(ctx, client.ObjectKey{Name: name}, req)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading CertificateSigningRequest %s: %w", name, err)
	}
	s := &State{Request: req, ClusterNamespace: r.ClusterNamespace}
	if signable(req) {
		s.Issuer, err = r.observeIssuer(ctx, req.Spec.SignerName)
	}
	return s, err
}

// observeIssuer returns the issuer that a signer name of ours stands for; nil when there is none.
func (r *Reconciler) observeIssuer(ctx context.Context, signerName string) (*Issuer, error) {
	name, _ := ParseSignerName(signerName)
	if name.Name == "" {
		return nil, nil
	}
	var found *Issuer
	var err error
	if name.Kind == cmapi.ClusterIssuerKind {
		obj := &cmapi.ClusterIssuer{}
		err = r.Cache.Get(ctx, client.ObjectKey{Name: name.Name}, obj)
		found = issuerOf(&obj.Spec, &obj.Status)
	} else {
		obj := &cmapi.Issuer{}
		err = r.Cache.Get(ctx, client.ObjectKey{Namespace: name.Namespace, Name: name.Name}, obj)
		found = issuerOf(&obj.Spec, &obj.Status)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return found, nil
}

// review finds out whether the requester may use the Issuer, and decides on that.
func (r *Reconciler) review(ctx context.Context, s *State) (Decision, error) {
	name, _ := ParseSignerName(s.Request.Spec.SignerName)
	may, err := mayReference(ctx, r.Client, s.Request, name)
	if err != nil {
		return nil, err
	}
	s.MayReference = &may
	return decide(*s), nil
}

// sign has the issuer sign and says what its answer means.
func (r *Reconciler) sign(ctx context.Context, s *State, d Sign) (Decision, error) {
	signed, err := r.Signer.Sign(ctx, d.Namespace, &d.Spec, d.KeySecret, nil, r.Now())
	var problem *issuer.Problem
	if err != nil && !errors.As(err, &problem) {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return conclude(s.Issuer.Type, signed, problem), nil
}

// report tells what happened to a request, each thing once.
func (r *Reconciler) report(s *State, d Decision) {
	recorder := r.Events(component(s.Issuer))
	switch d := d.(type) {
	case Wait:
		if r.told.first(s.Request, d) {
			recorder.Event(s.Request, d.Kind, d.Reason, d.Message)
		}
		return
	case Fail:
		recorder.Event(s.Request, corev1.EventTypeWarning, d.Reason, d.Message)
	case Issue:
		recorder.Event(s.Request, corev1.EventTypeNormal, "CertificateIssued", d.Message)
	}
	r.told.forget(s.Request.Name)
}

// component names who acts: cert-manager has one controller for each type of issuer.
func component(i *Issuer) string {
	if i == nil || i.Type == "" {
		return Component
	}
	return Component + "-issuer-" + i.Type
}
