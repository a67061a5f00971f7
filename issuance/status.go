package issuance

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Reasons of conditions and Events. Those of cert-manager are API: people and tools look for them.
const (
	reasonReady              = "Ready"
	reasonManual             = "ManuallyTriggered"
	reasonSecretMismatch     = "SecretMismatch"
	reasonInvalidCertificate = "InvalidCertificate"
	reasonBadConfig          = "BadConfig"
	reasonCannotRegenerate   = "CannotRegenerateKey"
	reasonInvalidSpec        = "InvalidSpec" // ours: the incumbent's webhook would have refused it
)

func condition(cert *cmapi.Certificate, t cmapi.CertificateConditionType) *cmapi.CertificateCondition {
	for i := range cert.Status.Conditions {
		if cert.Status.Conditions[i].Type == t {
			return &cert.Status.Conditions[i]
		}
	}
	return nil
}

// statusFor returns the status that a decision leads to before it has been carried out; see issuedStatus for after.
func statusFor(s State, d Decision) cmapi.CertificateStatus {
	st := *s.Cert.Status.DeepCopy()
	setDates(&st, s)
	reason, message := readiness(s)
	switch d := d.(type) {
	case Reject:
		reason, message = d.Reason, d.Message
		if d.Reason != reasonKeystorePassword && d.Reason != reasonKeystoreUnusable { // that comes by itself, and with it what was asked for
			dropCondition(&st, cmapi.CertificateConditionIssuing)
		}
		st.NextPrivateKeySecretName = nil
	case Yield:
		st.NextPrivateKeySecretName = nil
		reason, message = "IncorrectCertificate", "Secret "+s.Cert.Spec.SecretName+" belongs to Certificate "+d.Owner+": give this Certificate a secretName of its own"
	case Wait:
		setIssuing(&st, s, cmmeta.ConditionTrue, d.Reason, d.Message)
		if s.NextKey != nil {
			st.NextPrivateKeySecretName = ptr.To(s.NextKey.Name)
		}
	case Fail:
		setIssuing(&st, s, cmmeta.ConditionFalse, d.Reason, "The certificate request has failed to complete and will be retried: "+d.Message)
		st.LastFailureTime = ptr.To(seconds(s.Now))
		st.FailedIssuanceAttempts = ptr.To(ptr.Deref(st.FailedIssuanceAttempts, 0) + 1)
		st.NextPrivateKeySecretName = nil
	case Halt:
		reason, message = d.Reason, d.Message
		dropCondition(&st, cmapi.CertificateConditionIssuing)
		st.NextPrivateKeySecretName = nil
	case Keep, Pause:
		st.NextPrivateKeySecretName = nil
	}
	setReady(&st, s, reason, message)
	return st
}

// issuedStatus returns the status once the Secret holds revision's certificate; s has the Secret's new view.
func issuedStatus(s State, revision int) cmapi.CertificateStatus {
	st := *s.Cert.Status.DeepCopy()
	setDates(&st, s)
	dropCondition(&st, cmapi.CertificateConditionIssuing)
	st.Revision = ptr.To(revision)
	st.LastFailureTime, st.FailedIssuanceAttempts, st.NextPrivateKeySecretName = nil, nil, nil
	s.Current, s.Next = s.Next, nil
	reason, message := readiness(s)
	setReady(&st, s, reason, message)
	return st
}

func setDates(st *cmapi.CertificateStatus, s State) {
	if s.Secret == nil || s.Secret.Digest.NotAfter.IsZero() {
		st.NotBefore, st.NotAfter, st.RenewalTime = nil, nil, nil
		return
	}
	st.NotBefore = ptr.To(metav1.NewTime(s.Secret.Digest.NotBefore))
	st.NotAfter = ptr.To(metav1.NewTime(s.Secret.Digest.NotAfter))
	st.RenewalTime = nil
	if at := scheduleOf(s).At; !at.IsZero() {
		st.RenewalTime = ptr.To(metav1.NewTime(at))
	}
}

func setReady(st *cmapi.CertificateStatus, s State, reason, message string) {
	if reason == "" {
		setCondition(st, s, cmapi.CertificateConditionReady, cmmeta.ConditionTrue, reasonReady, "Certificate is up to date and has not expired")
		return
	}
	setCondition(st, s, cmapi.CertificateConditionReady, cmmeta.ConditionFalse, reason, message)
}

func setIssuing(st *cmapi.CertificateStatus, s State, status cmmeta.ConditionStatus, reason, message string) {
	setCondition(st, s, cmapi.CertificateConditionIssuing, status, reason, message)
}

// setCondition replaces a condition; its transition time moves only when its status changes.
func setCondition(st *cmapi.CertificateStatus, s State, t cmapi.CertificateConditionType, status cmmeta.ConditionStatus, reason, message string) {
	c := cmapi.CertificateCondition{
		Type: t, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.Cert.Generation, LastTransitionTime: ptr.To(seconds(s.Now)),
	}
	for i, old := range st.Conditions {
		if old.Type != t {
			continue
		}
		if old.Status == status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		st.Conditions[i] = c
		return
	}
	st.Conditions = append(st.Conditions, c)
}

func dropCondition(st *cmapi.CertificateStatus, t cmapi.CertificateConditionType) {
	var kept []cmapi.CertificateCondition
	for _, c := range st.Conditions {
		if c.Type != t {
			kept = append(kept, c)
		}
	}
	st.Conditions = kept
}

// seconds is the API's resolution of time: what is written reads back equal.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// surplus returns which requests of earlier revisions are beyond spec.revisionHistoryLimit (1 where it is not set), oldest first.
func surplus(s State, history []*Request) []*Request {
	if s.Secret == nil || s.Secret.Digest.Flaw != pki.Sound {
		return nil
	}
	limit := int(ptr.Deref(s.Cert.Spec.RevisionHistoryLimit, 1))
	return dropNewest(history, currentRevision(s.Cert), limit)
}

// sameStatus compares two statuses; times compare as instants.
func sameStatus(a, b *cmapi.CertificateStatus) bool { return equality.Semantic.DeepEqual(a, b) }
