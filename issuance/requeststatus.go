package issuance

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
)

// outcome is how far a CertificateRequest has come.
type outcome int

const (
	outcomePending outcome = iota
	outcomeIssued
	outcomeFailed
)

// outcomeOf reads a request's conditions in cert-manager's order: denied, invalid, failed, issued. For a denial the
// reason is the one that the denier gave.
func outcomeOf(st *cmapi.CertificateRequestStatus) (_ outcome, reason, message string) {
	if c := requestCondition(st, cmapi.CertificateRequestConditionDenied); c != nil && c.Status == cmmeta.ConditionTrue {
		return outcomeFailed, c.Reason, c.Message
	}
	if c := requestCondition(st, cmapi.CertificateRequestConditionInvalidRequest); c != nil && c.Status == cmmeta.ConditionTrue {
		return outcomeFailed, c.Reason, c.Message
	}
	ready := requestCondition(st, cmapi.CertificateRequestConditionReady)
	switch {
	case ready == nil:
		return outcomePending, "", ""
	case ready.Status == cmmeta.ConditionTrue && ready.Reason == cmapi.CertificateRequestReasonIssued:
		return outcomeIssued, ready.Reason, ready.Message
	case ready.Reason == cmapi.CertificateRequestReasonFailed || ready.Reason == cmapi.CertificateRequestReasonDenied:
		return outcomeFailed, ready.Reason, ready.Message
	}
	return outcomePending, ready.Reason, ready.Message
}

func requestCondition(st *cmapi.CertificateRequestStatus, t cmapi.CertificateRequestConditionType) *cmapi.CertificateRequestCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func isTrue(st *cmapi.CertificateRequestStatus, t cmapi.CertificateRequestConditionType) bool {
	c := requestCondition(st, t)
	return c != nil && c.Status == cmmeta.ConditionTrue
}

func setRequestCondition(st *cmapi.CertificateRequestStatus, now time.Time, t cmapi.CertificateRequestConditionType, status cmmeta.ConditionStatus, reason, message string) {
	c := cmapi.CertificateRequestCondition{Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: ptr.To(seconds(now))}
	if old := requestCondition(st, t); old != nil {
		if old.Status == status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	st.Conditions = append(st.Conditions, c)
}

// setApproved approves a request as cert-manager's approver does.
func setApproved(st *cmapi.CertificateRequestStatus, now time.Time) {
	setRequestCondition(st, now, cmapi.CertificateRequestConditionApproved, cmmeta.ConditionTrue, approvedReason, approvedMessage)
}

const (
	approvedReason  = "cert-manager.io"
	approvedMessage = "Certificate request has been approved by cert-manager.io"
	issuedMessage   = "Certificate fetched from issuer successfully"
)

// setIssued records an issuer's answer.
func setIssued(st *cmapi.CertificateRequestStatus, now time.Time, signed issuer.Signed) {
	st.Certificate, st.CA = signed.Chain, signed.CA
	message := issuedMessage
	if signed.Note != "" {
		message += "; " + signed.Note
	}
	setRequestCondition(st, now, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, message)
}

// setProblem records why a request was not signed.
func setProblem(st *cmapi.CertificateRequestStatus, now time.Time, p *issuer.Problem) {
	reason := cmapi.CertificateRequestReasonPending
	if !p.Pending {
		reason = cmapi.CertificateRequestReasonFailed
		st.FailureTime = ptr.To(seconds(now))
	}
	setRequestCondition(st, now, cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, reason, p.Message)
}

// setDenied closes a request that somebody denied.
func setDenied(st *cmapi.CertificateRequestStatus, now time.Time) {
	st.FailureTime = ptr.To(seconds(now))
	setRequestCondition(st, now, cmapi.CertificateRequestConditionReady, cmmeta.ConditionFalse, cmapi.CertificateRequestReasonDenied,
		"The CertificateRequest was denied by an approval controller")
}

// revisionOf reads the revision that a request was made for; zero when there is none. Where no annotation says it, as in the cache, the
// name does that the owner's request of a revision has.
func revisionOf(r *cmapi.CertificateRequest) int {
	text, annotated := r.Annotations[annRevision]
	if !annotated {
		text = r.Name[strings.LastIndexByte(r.Name, '-')+1:]
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	if owner := metav1.GetControllerOfNoCopy(r); !annotated && (owner == nil || requestName(owner.Name, n) != r.Name) {
		return 0
	}
	return n
}

// dropNewest returns the requests up to revision without the limit newest ones: what is to be deleted, oldest first.
func dropNewest(history []*Request, revision, limit int) []*Request {
	var past []*Request
	for _, r := range history {
		if revisionOf(r.CertificateRequest) <= revision {
			past = append(past, r)
		}
	}
	slices.SortFunc(past, func(a, b *Request) int {
		return cmp.Compare(revisionOf(a.CertificateRequest), revisionOf(b.CertificateRequest))
	})
	return past[:max(0, len(past)-limit)]
}
