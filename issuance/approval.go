package issuance

import (
	"strings"

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
}

// DefaultSigners are those that cert-manager's chart approves for: every Issuer and ClusterIssuer of our own.
func DefaultSigners() []string {
	return []string{"issuers." + pki.Group + "/*", "clusterissuers." + pki.Group + "/*"}
}

// Approves tells whether a request in namespace to an issuer is approved. A kind's plural is taken to be its lower-case
// name with an s, as every issuer's known to us is.
func (a Approver) Approves(ref cmmeta.IssuerReference, namespace string) bool {
	if !a.Enabled {
		return false
	}
	ref = pki.WithDefaults(ref)
	kind := strings.ToLower(ref.Kind) + "s." + ref.Group + "/"
	namespaced := !strings.HasPrefix(ref.Kind, "Cluster")
	for _, s := range a.Signers {
		name, ok := strings.CutPrefix(s, kind)
		if ok && (name == "*" || name == ref.Name && !namespaced || name == namespace+"."+ref.Name && namespaced) {
			return true
		}
	}
	return false
}
