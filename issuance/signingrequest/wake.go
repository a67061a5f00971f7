package signingrequest

import (
	"context"
	"fmt"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Indexes of the cache. They hold requests that may still be signed, and no others.
const (
	indexIssuer    = "issuer"
	indexKeySecret = "keySecret"
)

func indexFields(ctx context.Context, f client.FieldIndexer) error {
	for field, of := range map[string]client.IndexerFunc{
		indexIssuer: func(o client.Object) []string {
			req := o.(*certificatesv1.CertificateSigningRequest)
			if !signable(req) {
				return nil
			}
			name, _ := ParseSignerName(req.Spec.SignerName)
			return []string{name.String()}
		},
		indexKeySecret: func(o client.Object) []string {
			req := o.(*certificatesv1.CertificateSigningRequest)
			if secret := req.Annotations[annKeySecret]; secret != "" && signable(req) {
				return []string{secret}
			}
			return nil
		},
	} {
		if err := f.IndexField(ctx, &certificatesv1.CertificateSigningRequest{}, field, of); err != nil {
			return fmt.Errorf("indexing CertificateSigningRequests by %s: %w", field, err)
		}
	}
	return nil
}

// requestsTo maps an issuer to the requests that wait for it.
func (r *Reconciler) requestsTo(ctx context.Context, obj client.Object) []reconcile.Request {
	name := SignerName{Kind: cmapi.IssuerKind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if name.Namespace == "" {
		name.Kind = cmapi.ClusterIssuerKind
	}
	return r.waiting(ctx, indexIssuer, name.String(), func(SignerName) bool { return true })
}

// requestsKeyedBy maps a Secret to the requests that wait for the private key in it.
func (r *Reconciler) requestsKeyedBy(ctx context.Context, secret client.Object) []reconcile.Request {
	return r.waiting(ctx, indexKeySecret, secret.GetName(), func(n SignerName) bool {
		if n.Kind == cmapi.ClusterIssuerKind {
			return secret.GetNamespace() == r.ClusterNamespace
		}
		return secret.GetNamespace() == n.Namespace
	})
}

func (r *Reconciler) waiting(ctx context.Context, index, value string, wanted func(SignerName) bool) []reconcile.Request {
	var list certificatesv1.CertificateSigningRequestList
	if err := r.Cache.List(ctx, &list, client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache answers errors only before it has started
	}
	var out []reconcile.Request
	for i := range list.Items {
		if name, ours := ParseSignerName(list.Items[i].Spec.SignerName); ours && wanted(name) {
			out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Name: list.Items[i].Name}})
		}
	}
	return out
}

// told remembers what was last said of each request that waits, so that it is said once. An entry goes when its request has
// come to an end or is gone; a restart says it once more.
type told struct {
	mu   sync.Mutex
	last map[string]saying // guarded by mu
}

type saying struct {
	uid types.UID
	Wait
}

// first tells whether this is news, and remembers it.
func (t *told) first(req *certificatesv1.CertificateSigningRequest, w Wait) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := saying{req.UID, w}
	if t.last[req.Name] == news {
		return false
	}
	if t.last == nil {
		t.last = map[string]saying{}
	}
	t.last[req.Name] = news
	return true
}

func (t *told) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, name)
}
