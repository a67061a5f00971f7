package signingrequest

import (
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	experimental "github.com/cert-manager/cert-manager/pkg/apis/experimental/v1alpha1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

const (
	annDuration  = experimental.CertificateSigningRequestDurationAnnotationKey
	annIsCA      = experimental.CertificateSigningRequestIsCAAnnotationKey
	annKeySecret = experimental.CertificateSigningRequestPrivateKeyAnnotationKey
)

// minDuration is the shortest lifetime that may be asked for, the same as spec.expirationSeconds has.
const minDuration = experimental.CertificateSigningRequestMinimumDuration

// Domains of the signer names that are ours.
const (
	issuers        = "issuers." + pki.Group
	clusterIssuers = "clusterissuers." + pki.Group
)

// SignerName is a parsed spec.signerName that names one of our issuers.
type SignerName struct {
	// Kind is Issuer or ClusterIssuer.
	Kind string
	// Namespace is empty for a ClusterIssuer, and Name for what names no issuer.
	Namespace, Name string
}

// ParseSignerName reads a signer name; ok is false when it is of somebody else's domain. One of our own that does not name an
// issuer has an empty Name. A namespace has no dots, so the first one ends it; a name may have more.
func ParseSignerName(s string) (_ SignerName, ok bool) {
	domain, path, _ := strings.Cut(s, "/")
	switch domain {
	case clusterIssuers:
		if strings.Contains(path, "/") {
			path = ""
		}
		return SignerName{Kind: cmapi.ClusterIssuerKind, Name: path}, true
	case issuers:
		namespace, name, _ := strings.Cut(path, ".")
		if namespace == "" || name == "" || strings.Contains(path, "/") {
			return SignerName{Kind: cmapi.IssuerKind}, true
		}
		return SignerName{Kind: cmapi.IssuerKind, Namespace: namespace, Name: name}, true
	}
	return SignerName{}, false
}

// String names the issuer as messages do.
func (n SignerName) String() string { return fmt.Sprintf("%s %s/%s", n.Kind, n.Namespace, n.Name) }

// Ask is what a request wants beyond its CSR.
type Ask struct {
	// Duration is the lifetime asked for: that of annotation request-duration, else of spec.expirationSeconds, else the default.
	Duration time.Duration
	// IsCA is true for annotation request-is-ca "true", and for nothing else.
	IsCA bool
	// KeySecret names the Secret with the request's private key, which self-signing needs; it lies in the issuer's namespace.
	KeySecret string
}

// maxDurationText bounds what is parsed as a duration: no lifetime needs more.
const maxDurationText = 64

// ParseAsk reads a request's annotations, all of experimental.cert-manager.io: request-duration (a Go duration), request-is-ca,
// private-key-secret-name. An error names the annotation at fault.
func ParseAsk(annotations map[string]string, expirationSeconds *int32) (Ask, error) {
	ask := Ask{Duration: pki.DefaultDuration, IsCA: annotations[annIsCA] == "true", KeySecret: annotations[annKeySecret]}
	if text, ok := annotations[annDuration]; ok {
		if len(text) > maxDurationText {
			return Ask{}, fmt.Errorf("annotation %s: a duration of %d characters is too long", annDuration, len(text))
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return Ask{}, fmt.Errorf("annotation %s: %w", annDuration, err)
		}
		ask.Duration = d
	} else if expirationSeconds != nil {
		ask.Duration = time.Duration(*expirationSeconds) * time.Second
	}
	return ask, nil
}

// certificateRequestSpec returns what the request asks of its issuer, in the terms of a CertificateRequest.
func certificateRequestSpec(req *certificatesv1.CertificateSigningRequest, n SignerName, ask Ask) cmapi.CertificateRequestSpec {
	spec := cmapi.CertificateRequestSpec{
		Request: req.Spec.Request, IsCA: ask.IsCA, Duration: &metav1.Duration{Duration: ask.Duration},
		IssuerRef: cmmeta.IssuerReference{Name: n.Name, Kind: n.Kind, Group: pki.Group},
	}
	for _, u := range req.Spec.Usages {
		spec.Usages = append(spec.Usages, cmapi.KeyUsage(u)) // the two APIs use the same words
	}
	return spec
}

func hasCondition(req *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	for _, c := range req.Status.Conditions {
		if c.Type == t { // the API server takes none that is not True
			return true
		}
	}
	return false
}

// settled tells whether a request has come to its end: issued, failed or denied.
func settled(req *certificatesv1.CertificateSigningRequest) bool {
	return len(req.Status.Certificate) > 0 || hasCondition(req, certificatesv1.CertificateFailed) || hasCondition(req, certificatesv1.CertificateDenied)
}

// signable tells whether a request is one to work on: named to us, approved, and at no end yet.
func signable(req *certificatesv1.CertificateSigningRequest) bool {
	_, ours := ParseSignerName(req.Spec.SignerName)
	return ours && req.DeletionTimestamp == nil && !settled(req) && hasCondition(req, certificatesv1.CertificateApproved)
}

// Trim takes out of a request what a cache need not keep: all but what tells whether it is one to work on, and what wakes it. The rest
// is read from the API server when it is needed.
func Trim(req *certificatesv1.CertificateSigningRequest) {
	keySecret, named := req.Annotations[annKeySecret]
	req.Labels, req.Annotations, req.ManagedFields = nil, nil, nil
	if named {
		req.Annotations = map[string]string{annKeySecret: keySecret}
	}
	req.Spec = certificatesv1.CertificateSigningRequestSpec{SignerName: req.Spec.SignerName}
	if len(req.Status.Certificate) > 0 {
		req.Status.Certificate = []byte("-")
	}
}
