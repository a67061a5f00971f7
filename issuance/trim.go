package issuance

import (
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// TrimRequest takes out of a CertificateRequest what a cache need not keep: of one that has come to its end, the CSR (a digest takes
// its place, which is all that matching needs), the certificates and who asked for it.
func TrimRequest(r *cmapi.CertificateRequest) {
	if !settled(&r.Status) {
		return
	}
	r.Spec.Request = pki.NewRequestDigest(r.Spec.Request).Text()
	r.Status.Certificate, r.Status.CA = nil, nil
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	r.Labels = nil
	for key := range r.Annotations {
		switch key {
		case annCertificate, annRevision, annKeySecret, annRenew:
		default:
			delete(r.Annotations, key)
		}
	}
}
