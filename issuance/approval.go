package issuance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Approver decides which requests are approved without anybody being asked.
type Approver struct {
	// Enabled is false where approval is somebody else's business.
	Enabled bool
	// Signers lists whose requests are approved: <plural>.<group>/* for every issuer of a kind, <plural>.<group>/<name> for a
	// cluster-wide one, <plural>.<group>/<namespace>.<name> for one of a namespace.
	Signers []string
	// Rights tells for which issuers of other groups we hold the right to approve; with nil it is for none but Signers.
	Rights *Rights
}

// DefaultSigners are those that cert-manager's chart approves for: every Issuer and ClusterIssuer of our own.
func DefaultSigners() []string {
	return []string{"issuers." + pki.Group + "/*", "clusterissuers." + pki.Group + "/*"}
}

// Approves tells whether a request in namespace to an issuer is approved because Signers has it.
func (a Approver) Approves(ref cmmeta.IssuerReference, namespace string) bool {
	if !a.Enabled {
		return false
	}
	names := signerNames(ref, namespace)
	return slices.ContainsFunc(a.Signers, func(s string) bool { return slices.Contains(names, s) })
}

// permits is Approves, or else asks the API server whether we may approve for an issuer of another group: cert-manager approves for
// every group, and it is a right on signers that an administrator gives with an external issuer.
func (a Approver) permits(ctx context.Context, ref cmmeta.IssuerReference, namespace string) (bool, error) {
	if a.Approves(ref, namespace) {
		return true, nil
	}
	if !a.Enabled || serves(ref) || a.Rights == nil {
		return false, nil
	}
	for _, name := range signerNames(ref, namespace) {
		if may, err := a.Rights.approve(ctx, name); may || err != nil {
			return may, err
		}
	}
	return false, nil
}

// signerNames returns the signers of which one has to be allowed: that of every issuer of the kind, and the issuer's own. A kind's
// plural is taken to be its lower-case name with an s, and Cluster in it to say its scope, as with every issuer known to us.
func signerNames(ref cmmeta.IssuerReference, namespace string) []string {
	ref = pki.WithDefaults(ref)
	kind := strings.ToLower(ref.Kind) + "s." + ref.Group + "/"
	if strings.Contains(ref.Kind, "Cluster") {
		return []string{kind + "*", kind + ref.Name}
	}
	return []string{kind + "*", kind + namespace + "." + ref.Name}
}

// rightTTL is how long an answer about a right of ours is good.
const rightTTL = 10 * time.Second

// maxRights bounds how many answers are remembered.
const maxRights = 1000

// Rights asks the API server what the daemon itself may do, and remembers the answer for a while.
type Rights struct {
	Client client.Client
	Now    func() time.Time // nil means time.Now

	mu    sync.Mutex
	known map[string]right // by signer; guarded by mu
}

type right struct {
	may   bool
	until time.Time
}

// approve tells whether we hold the verb approve on a signer.
func (r *Rights) approve(ctx context.Context, signer string) (bool, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	r.mu.Lock()
	known, ok := r.known[signer]
	r.mu.Unlock()
	if ok && now().Before(known.until) {
		return known.may, nil
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: pki.Group, Resource: "signers", Verb: "approve", Name: signer},
	}}
	if err := r.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("asking whether we may approve for %s: %w", signer, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= maxRights {
		r.known = map[string]right{}
	}
	r.known[signer] = right{review.Status.Allowed, now().Add(rightTTL)}
	return review.Status.Allowed, nil
}
