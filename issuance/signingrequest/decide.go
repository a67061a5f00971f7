package signingrequest

import (
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
)

// State is everything that a decision about a request depends on.
type State struct {
	Request *certificatesv1.CertificateSigningRequest
	// Issuer is the one that the request names; nil when there is none.
	Issuer *Issuer
	// MayReference is whether the requester may use the Issuer; nil when nobody has asked yet.
	MayReference *bool
	// ClusterNamespace is where the Secrets of ClusterIssuers lie.
	ClusterNamespace string
}

// Issuer is what there is to know of an issuer.
type Issuer struct {
	// Type is one of the words below, or empty.
	Type  string
	Ready bool
	// Why says what the Ready condition says when the issuer is not ready; it may be empty.
	Why string
}

// Types of issuers: as in their spec, in lower case.
const (
	typeSelfSigned = "selfsigned"
	typeCA         = "ca"
	typeACME       = "acme"
	typeVault      = "vault"
	typeVenafi     = "venafi"
)

// Decision is what is to be done about a request.
type Decision interface{ decision() }

type (
	// Ignore leaves the request alone: it is not ours, or at its end.
	Ignore struct{}
	// Wait writes nothing and tells once what is waited for. Kind is the Event's type.
	Wait struct{ Kind, Reason, Message string }
	// Review asks the API server whether the requester may use the Issuer.
	Review struct{}
	// Sign has the issuer sign. Namespace is where the issuer's Secrets lie.
	Sign struct {
		Namespace string
		Spec      cmapi.CertificateRequestSpec
		KeySecret string
	}
	// Fail ends the request with condition Failed.
	Fail struct{ Reason, Message string }
	// Issue ends the request with a chain, leaf first.
	Issue struct {
		Chain   []byte
		Message string
	}
)

func (Ignore) decision() {}
func (Wait) decision()   {}
func (Review) decision() {}
func (Sign) decision()   {}
func (Fail) decision()   {}
func (Issue) decision()  {}

func waiting(kind, reason, format string, args ...any) Decision {
	return Wait{Kind: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// decide says what to do next. Its order is cert-manager's, and so are the reasons.
func decide(s State) Decision {
	name, ours := ParseSignerName(s.Request.Spec.SignerName)
	switch {
	case !ours, s.Request.DeletionTimestamp != nil, settled(s.Request):
		return Ignore{}
	case !hasCondition(s.Request, certificatesv1.CertificateApproved):
		return waiting(corev1.EventTypeNormal, "WaitingApproval", "Waiting for the Approved condition before issuing")
	}
	if d := unusable(s, name); d != nil {
		return d
	}
	ask, err := ParseAsk(s.Request.Annotations, s.Request.Spec.ExpirationSeconds)
	switch {
	case err != nil:
		return Fail{"ErrorParseDuration", fmt.Sprintf("Failed to parse requested duration: %s", err)}
	case ask.Duration < minDuration:
		return Fail{"InvalidDuration", fmt.Sprintf("CertificateSigningRequest minimum allowed duration is %s, requested %s", minDuration, ask.Duration)}
	case !s.Issuer.Ready:
		return waiting(corev1.EventTypeWarning, "IssuerNotReady", "Referenced %s does not have a Ready status condition%s", name, because(s.Issuer.Why))
	case s.Issuer.Type == typeSelfSigned && ask.KeySecret == "":
		return Fail{"MissingAnnotation", fmt.Sprintf("Missing private key reference annotation: %q names the Secret with the private key that signed the request", annKeySecret)}
	}
	namespace := name.Namespace
	if name.Kind == cmapi.ClusterIssuerKind {
		namespace = s.ClusterNamespace
	}
	return Sign{Namespace: namespace, Spec: certificateRequestSpec(s.Request, name, ask), KeySecret: ask.KeySecret}
}

// unusable says why the named issuer does not sign for this requester; nil when it does.
func unusable(s State, name SignerName) Decision {
	switch {
	case name.Name == "":
		return waiting(corev1.EventTypeWarning, "IssuerNotFound", "spec.signerName %q names no issuer: it has to be %s/<namespace>.<name> or %s/<name>",
			s.Request.Spec.SignerName, issuers, clusterIssuers)
	case s.Issuer == nil:
		return waiting(corev1.EventTypeWarning, "IssuerNotFound", "Referenced %s not found", name)
	}
	switch s.Issuer.Type {
	case typeSelfSigned, typeCA:
	case "":
		return waiting(corev1.EventTypeWarning, "IssuerTypeMissing", "Referenced %s is missing type", name)
	default:
		return waiting(corev1.EventTypeWarning, "IssuerTypeNotSupported",
			"Referenced %s is of type %s, which trustglass does not serve for CertificateSigningRequests: use selfSigned or ca", name, s.Issuer.Type)
	}
	switch {
	case name.Kind == cmapi.ClusterIssuerKind:
		return nil
	case s.MayReference == nil:
		return Review{}
	case !*s.MayReference:
		return Fail{"DeniedReference", fmt.Sprintf("Requester may not reference Namespaced Issuer %s/%s", name.Namespace, name.Name)}
	}
	return nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// conclude says what an issuer's answer means for the request: an Issue, a Wait or a Fail.
func conclude(issuerType string, signed issuer.Signed, problem *issuer.Problem) Decision {
	if problem == nil {
		message := "Certificate fetched from issuer successfully"
		if issuerType == typeSelfSigned {
			message = "Certificate self signed successfully"
		}
		if signed.Note != "" {
			message += "; " + signed.Note
		}
		return Issue{Chain: signed.Chain, Message: message}
	}
	reason := problem.Reason
	if reason == "MissingSecret" {
		reason = "SecretNotFound" // cert-manager's word where it is no CertificateRequest that waits
	}
	message := strings.ReplaceAll(problem.Message, "spec.isCA", "annotation "+annIsCA)
	// A Secret whose key does not parse may be put right like one that is missing.
	if problem.Pending || reason == "ErrorParsingKey" {
		return Wait{Kind: corev1.EventTypeWarning, Reason: reason, Message: message}
	}
	return Fail{Reason: reason, Message: message}
}

// issuerOf returns what a decision needs of an Issuer or ClusterIssuer.
func issuerOf(spec *cmapi.IssuerSpec, status *cmapi.IssuerStatus) *Issuer {
	out := &Issuer{}
	switch {
	case spec.SelfSigned != nil:
		out.Type = typeSelfSigned
	case spec.CA != nil:
		out.Type = typeCA
	case spec.ACME != nil:
		out.Type = typeACME
	case spec.Vault != nil:
		out.Type = typeVault
	case spec.Venafi != nil:
		out.Type = typeVenafi
	}
	for _, c := range status.Conditions {
		if c.Type != cmapi.IssuerConditionReady {
			continue
		}
		if out.Ready = c.Status == cmmeta.ConditionTrue; !out.Ready {
			out.Why = strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		}
	}
	return out
}
