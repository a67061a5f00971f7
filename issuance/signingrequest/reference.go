package signingrequest

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/issuance/pki"
)

// mayReference asks the API server whether the requester, whose identity it has written into the request itself, holds the verb
// "reference" on the signer <name>, or on one named *, in the Issuer's namespace. A review changes nothing in the cluster.
func mayReference(ctx context.Context, c client.Client, req *certificatesv1.CertificateSigningRequest, n SignerName) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range req.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	for _, name := range []string{n.Name, "*"} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: req.Spec.Username, UID: req.Spec.UID, Groups: req.Spec.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: pki.Group, Version: "*", Resource: "signers", Verb: "reference", Namespace: n.Namespace, Name: name,
			},
		}}
		if err := c.Create(ctx, review); err != nil {
			return false, fmt.Errorf("reviewing whether the requester may reference %s: %w", n, err)
		}
		if review.Status.Allowed {
			return true, nil
		}
	}
	return false, nil
}
