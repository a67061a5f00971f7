package issuance

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Field managers. The first one is cert-manager's own: its Secrets and ours are the same Secrets, and a takeover rewrites none.
const (
	FieldManager        = "cert-manager-certificates-issuing"
	keyFieldManager     = "cert-manager-certificates-key-manager"
	requestFieldManager = "cert-manager-certificates-request-manager"
)

const (
	labelManaged = cmapi.PartOfCertManagerControllerLabelKey
	labelNextKey = cmapi.IsNextPrivateKeySecretLabelKey

	annCertificate = cmapi.CertificateNameKey
	annIssuerName  = cmapi.IssuerNameAnnotationKey
	annIssuerKind  = cmapi.IssuerKindAnnotationKey
	annIssuerGroup = cmapi.IssuerGroupAnnotationKey
	annRevision    = cmapi.CertificateRequestRevisionAnnotationKey
	annKeySecret   = cmapi.CertificateRequestPrivateKeyAnnotationKey
	annTemporary   = cmapi.IssueTemporaryCertificateAnnotation
	annRenew       = pki.RenewAnnotation
	annKeystores   = pki.KeystoresAnnotation
	// annDeletion on a Certificate says what becomes of its Secret when the Certificate is deleted: Delete or Retain. Without
	// it the daemon's setting holds.
	annDeletion = "trustglass.io/secret-deletion-policy"
)

// maxNameLength is the API server's limit on an object's name.
const maxNameLength = 253

// requestName returns the name of a Certificate's request: <certificate>-<revision>, the front cut and hashed where that is
// too long for a name.
func requestName(certificate string, revision int) string {
	suffix := "-" + strconv.Itoa(revision)
	if len(certificate)+len(suffix) <= maxNameLength {
		return certificate + suffix
	}
	sum := sha256.Sum256([]byte(certificate))
	mark := "-" + hex.EncodeToString(sum[:4])
	return certificate[:maxNameLength-len(suffix)-len(mark)] + mark + suffix
}

func nextRevision(cert *cmapi.Certificate) int { return currentRevision(cert) + 1 }

func currentRevision(cert *cmapi.Certificate) int {
	if cert.Status.Revision == nil {
		return 0
	}
	return *cert.Status.Revision
}

// issuerKey identifies an issuer in an index: kind/namespace/name, the namespace empty for a ClusterIssuer.
func issuerKey(ref cmmeta.IssuerReference, namespace string) string {
	ref = pki.WithDefaults(ref)
	if ref.Group != pki.Group {
		return ""
	}
	if ref.Kind == cmapi.ClusterIssuerKind {
		namespace = ""
	}
	return fmt.Sprintf("%s/%s/%s", ref.Kind, namespace, ref.Name)
}

func keyOf(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}
