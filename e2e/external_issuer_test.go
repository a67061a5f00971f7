package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// The small issuer's API: a kind of its own in a group of its own.
const (
	smallGroup  = "issuers.example.org"
	smallKind   = "SmallIssuer"
	smallPlural = "smallissuers"
)

// What a SmallIssuer does with requests: its spec.mode.
const (
	modeSign     = "sign"
	modeHold     = "hold"      // pending
	modeFail     = "fail"      // for good
	modeInvalid  = "invalid"   // the request, says condition InvalidRequest
	modeJunk     = "junk"      // Issued, with what is no certificate
	modeOtherKey = "other-key" // Issued, with a certificate for a key of its own
	modeExpired  = "expired"   // Issued, with a certificate that was valid once
)

// smallIssuer is somebody else's controller: it knows cert-manager's API and its habits, and nothing of the daemon. It reads
// and writes CertificateRequests of its own group only, under rights of its own.
type smallIssuer struct {
	client client.Client
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newSmallIssuer(c client.Client) (*smallIssuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "small-root"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &smallIssuer{client: c, cert: cert, key: key}, err
}

func (i *smallIssuer) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("smallissuer").
		For(&cmapi.CertificateRequest{}).
		Watches(object(smallGroup+"/v1", smallKind, "", ""), handler.EnqueueRequestsFromMapFunc(i.requestsOf)).
		Complete(i)
}

func (i *smallIssuer) requestsOf(ctx context.Context, issuer client.Object) []reconcile.Request {
	var list cmapi.CertificateRequestList
	if err := i.client.List(ctx, &list, client.InNamespace(issuer.GetNamespace())); err != nil {
		return nil
	}
	var out []reconcile.Request
	for _, r := range list.Items {
		if r.Spec.IssuerRef.Group == smallGroup && r.Spec.IssuerRef.Name == issuer.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&r)})
		}
	}
	return out
}

// Reconcile does what an external issuer has to do, in the order in which cert-manager's documentation asks for it.
func (i *smallIssuer) Reconcile(ctx context.Context, key ctrl.Request) (ctrl.Result, error) {
	req := &cmapi.CertificateRequest{}
	if err := i.client.Get(ctx, key.NamespacedName, req); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if req.Spec.IssuerRef.Group != smallGroup || req.Spec.IssuerRef.Kind != smallKind || req.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	ready := smallCondition(req, cmapi.CertificateRequestConditionReady)
	switch {
	case ready != nil && (ready.Status == cmmeta.ConditionTrue || ready.Reason == "Failed" || ready.Reason == "Denied"):
		return ctrl.Result{}, nil
	case smallCondition(req, cmapi.CertificateRequestConditionInvalidRequest) != nil:
		return ctrl.Result{}, nil
	case smallCondition(req, cmapi.CertificateRequestConditionDenied) != nil:
		return ctrl.Result{}, i.end(ctx, req, "Denied", "The CertificateRequest was denied by an approval controller")
	case smallCondition(req, cmapi.CertificateRequestConditionApproved) == nil:
		return ctrl.Result{}, nil
	}
	issuer := object(smallGroup+"/v1", smallKind, req.Namespace, req.Spec.IssuerRef.Name)
	if err := i.client.Get(ctx, client.ObjectKeyFromObject(issuer), issuer); apierrors.IsNotFound(err) {
		return ctrl.Result{}, i.set(ctx, req, cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, "Pending", "there is no such issuer")
	} else if err != nil {
		return ctrl.Result{}, err
	}
	mode, _, err := unstructured.NestedString(issuer.Object, "spec", "mode")
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, i.answer(ctx, req, mode)
}

func (i *smallIssuer) answer(ctx context.Context, req *cmapi.CertificateRequest, mode string) error {
	switch mode {
	case modeHold:
		return i.set(ctx, req, cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, "Pending", "somebody has to look at it")
	case modeFail:
		return i.end(ctx, req, "Failed", "the small issuer does not like it")
	case modeInvalid:
		return i.set(ctx, req, cmapi.CertificateRequestConditionInvalidRequest, cmmeta.ConditionTrue, "BadNames", "the names are not ours")
	case modeJunk:
		req.Status.Certificate = []byte("-----BEGIN CERTIFICATE-----\nanVuaw==\n-----END CERTIFICATE-----\n")
	default:
		chain, err := i.sign(req, mode)
		if err != nil {
			return i.end(ctx, req, "Failed", err.Error())
		}
		req.Status.Certificate = chain
	}
	req.Status.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
	return i.set(ctx, req, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, "Issued", "the small issuer has signed it")
}

// sign returns the leaf in PEM.
func (i *smallIssuer) sign(req *cmapi.CertificateRequest, mode string) ([]byte, error) {
	block, _ := pem.Decode(req.Spec.Request)
	if block == nil {
		return nil, fmt.Errorf("no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: csr.Subject, DNSNames: csr.DNSNames, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	public := csr.PublicKey
	switch mode {
	case modeExpired:
		template.NotBefore, template.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(-time.Hour)
	case modeOtherKey:
		public = i.key.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, public, i.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// end closes a request without a certificate.
func (i *smallIssuer) end(ctx context.Context, req *cmapi.CertificateRequest, reason, message string) error {
	now := metav1.Now()
	req.Status.FailureTime = &now
	return i.set(ctx, req, cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, reason, message)
}

func (i *smallIssuer) set(ctx context.Context, req *cmapi.CertificateRequest, kind cmapi.CertificateRequestConditionType, status cmmeta.ConditionStatus, reason, message string) error {
	now := metav1.Now()
	next := cmapi.CertificateRequestCondition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: &now}
	if have := smallCondition(req, kind); have == nil {
		req.Status.Conditions = append(req.Status.Conditions, next)
	} else if have.Status == status && have.Reason == reason && have.Message == message {
		return nil
	} else {
		*have = next
	}
	return i.client.Status().Update(ctx, req)
}

func smallCondition(req *cmapi.CertificateRequest, kind cmapi.CertificateRequestConditionType) *cmapi.CertificateRequestCondition {
	n := slices.IndexFunc(req.Status.Conditions, func(c cmapi.CertificateRequestCondition) bool { return c.Type == kind })
	if n < 0 {
		return nil
	}
	return &req.Status.Conditions[n]
}
