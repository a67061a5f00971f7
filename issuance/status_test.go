package issuance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
)

func is(kind cmapi.CertificateConditionType, status cmmeta.ConditionStatus, reason, message string, since time.Time) cmapi.CertificateCondition {
	return cmapi.CertificateCondition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: ptr.To(metav1.NewTime(since)),
	}
}

const upToDate = "Certificate is up to date and has not expired"

func at(t time.Time) *metav1.Time { return ptr.To(metav1.NewTime(t)) }

func TestStatusFor(t *testing.T) {
	now := start.Add(time.Hour)
	ready := func(since time.Time) cmapi.CertificateCondition {
		return is("Ready", cmmeta.ConditionTrue, "Ready", upToDate, since)
	}
	issued := func(conditions ...cmapi.CertificateCondition) cmapi.CertificateStatus {
		return cmapi.CertificateStatus{
			Revision: ptr.To(1), NotBefore: at(start), NotAfter: at(start.Add(90 * day)), RenewalTime: at(start.Add(60 * day)), Conditions: conditions,
		}
	}
	missing := is("Ready", cmmeta.ConditionFalse, "DoesNotExist", "Issuing certificate as Secret does not exist", now)
	const retried = "The certificate request has failed to complete and will be retried: "
	for _, tc := range []struct {
		reason string
		set    func(*world)
		d      Decision
		want   cmapi.CertificateStatus
	}{
		{"in good order, first seen", func(*world) {}, Keep{}, issued(ready(now))},
		{"Ready since long ago", func(w *world) { w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start)} }, Keep{}, issued(ready(start))},
		{"becoming Ready moves the transition time", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{is("Ready", cmmeta.ConditionFalse, "DoesNotExist", "", start)}
		}, Keep{}, issued(ready(now))},
		{"another reason for the same status does not", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{is("Ready", cmmeta.ConditionFalse, "Expired", "", start)}
			w.Secret = nil
		}, Keep{}, cmapi.CertificateStatus{Revision: ptr.To(1), Conditions: []cmapi.CertificateCondition{
			is("Ready", cmmeta.ConditionFalse, "DoesNotExist", "Issuing certificate as Secret does not exist", start)}}},
		{"a keystore's password is missing: what was asked for goes on when it comes", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{is("Issuing", cmmeta.ConditionTrue, "ManuallyTriggered", "please", start)}
		}, Reject{reasonKeystorePassword, "no password"}, issued(is("Issuing", cmmeta.ConditionTrue, "ManuallyTriggered", "please", start),
			is("Ready", cmmeta.ConditionFalse, reasonKeystorePassword, "no password", now))},
		{"a spec that can't be issued ends what was asked for", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{is("Issuing", cmmeta.ConditionTrue, "ManuallyTriggered", "please", start)}
		}, Reject{reasonInvalidSpec, "no name"}, issued(is("Ready", cmmeta.ConditionFalse, reasonInvalidSpec, "no name", now))},
		{"first issuance waits", func(w *world) { w.Secret, w.Cert.Status.Revision, w.NextKey = nil, nil, &NextKey{Name: "web-x"} },
			Wait{"DoesNotExist", "none; waiting: issuer"},
			cmapi.CertificateStatus{NextPrivateKeySecretName: ptr.To("web-x"), Conditions: []cmapi.CertificateCondition{
				is("Issuing", cmmeta.ConditionTrue, "DoesNotExist", "none; waiting: issuer", now), missing}}},
		{"Ready stays True while a renewal waits, even when it is due", func(w *world) {
			w.Now = start.Add(70 * day)
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start)}
		}, Wait{"Renewing", "due"}, issued(ready(start), is("Issuing", cmmeta.ConditionTrue, "Renewing", "due", start.Add(70*day)))},
		{"Ready ends when the certificate does", func(w *world) {
			w.Now = start.Add(90*day + time.Second)
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start)}
		}, Wait{"Renewing", "due"}, issued(
			is("Ready", cmmeta.ConditionFalse, "Expired", "Certificate expired on Sat, 30 May 2026 12:00:00 UTC", start.Add(90*day+time.Second)),
			is("Issuing", cmmeta.ConditionTrue, "Renewing", "due", start.Add(90*day+time.Second)))},
		{"first failure", func(w *world) {
			w.Secret, w.Cert.Status.Revision = nil, nil
			w.Cert.Status.NextPrivateKeySecretName = ptr.To("web-x")
		},
			Fail{"Policy", "no"},
			cmapi.CertificateStatus{LastFailureTime: at(now), FailedIssuanceAttempts: ptr.To(1), Conditions: []cmapi.CertificateCondition{
				is("Issuing", cmmeta.ConditionFalse, "Policy", retried+"no", now), missing}}},
		{"third failure, of a renewal", func(w *world) {
			w.Cert.Status.FailedIssuanceAttempts, w.Cert.Status.LastFailureTime = ptr.To(2), at(start)
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start), is("Issuing", cmmeta.ConditionTrue, "Renewing", "due", start)}
		}, Fail{"Failed", "no"}, func() cmapi.CertificateStatus {
			s := issued(ready(start), is("Issuing", cmmeta.ConditionFalse, "Failed", retried+"no", now))
			s.FailedIssuanceAttempts, s.LastFailureTime = ptr.To(3), at(now)
			return s
		}()},
		{"the wait after a failure changes nothing", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start), is("Issuing", cmmeta.ConditionFalse, "Failed", retried+"no", start)}
		}, Pause{}, issued(ready(start), is("Issuing", cmmeta.ConditionFalse, "Failed", retried+"no", start))},
		{"a spec that can't be issued ends what was under way", func(w *world) {
			w.Cert.Status.Conditions = []cmapi.CertificateCondition{ready(start), is("Issuing", cmmeta.ConditionTrue, "Renewing", "due", start)}
			w.Cert.Status.NextPrivateKeySecretName = ptr.To("web-x")
		}, Reject{"InvalidSpec", "spec: name it"}, issued(is("Ready", cmmeta.ConditionFalse, "InvalidSpec", "spec: name it", now))},
		{"somebody else's Secret", func(w *world) { w.Cert.Status.NextPrivateKeySecretName = ptr.To("web-x") }, Yield{"older"},
			issued(is("Ready", cmmeta.ConditionFalse, "IncorrectCertificate", "Secret web-tls belongs to Certificate older: give this Certificate a secretName of its own", now))},
		{"renewal off has no time", func(w *world) {
			w.Cert.Spec.Renewal = &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}
		}, Keep{}, func() cmapi.CertificateStatus { s := issued(ready(now)); s.RenewalTime = nil; return s }()},
	} {
		w := goodOrder(t)
		tc.set(w)
		before := w.Cert.Status.DeepCopy()
		if diff := cmp.Diff(tc.want, statusFor(w.State, tc.d)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
		if diff := cmp.Diff(before, &w.Cert.Status); diff != "" {
			t.Errorf("%s: the cache's object was changed\n%s", tc.reason, diff)
		}
	}
}

// Success clears everything that an issuance leaves: Issuing is removed, not False.
func TestIssuedStatus(t *testing.T) {
	w := goodOrder(t)
	w.Now = start.Add(61 * day)
	p := w.underWay(t)
	w.failed(start, 2)
	w.Cert.Status.NextPrivateKeySecretName = ptr.To("web-x")
	w.Cert.Status.Conditions = append(w.Cert.Status.Conditions, is("Ready", cmmeta.ConditionTrue, "Ready", upToDate, start))
	w.Next, w.pair = w.request(2, p), p
	w.seeSecret(nil)
	want := cmapi.CertificateStatus{
		Revision: ptr.To(2), NotBefore: at(w.Now), NotAfter: at(w.Now.Add(90 * day)), RenewalTime: at(w.Now.Add(60 * day)),
		Conditions: []cmapi.CertificateCondition{is("Ready", cmmeta.ConditionTrue, "Ready", upToDate, start)},
	}
	if diff := cmp.Diff(want, issuedStatus(w.State, 2)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestOutcomeOf(t *testing.T) {
	set := func(kind cmapi.CertificateRequestConditionType, status cmmeta.ConditionStatus, reason string) func(*cmapi.CertificateRequestStatus) {
		return func(st *cmapi.CertificateRequestStatus) {
			setRequestCondition(st, start, kind, status, reason, "message")
		}
	}
	denied := set("Denied", cmmeta.ConditionTrue, "Policy")
	issued := set("Ready", cmmeta.ConditionTrue, "Issued")
	failed := set("Ready", cmmeta.ConditionFalse, "Failed")
	for _, tc := range []struct {
		reason string
		sets   []func(*cmapi.CertificateRequestStatus)
		want   outcome
		says   string
	}{
		{"nothing yet", nil, outcomePending, ""},
		{"approved", []func(*cmapi.CertificateRequestStatus){set("Approved", cmmeta.ConditionTrue, "x")}, outcomePending, ""},
		{"pending", []func(*cmapi.CertificateRequestStatus){set("Ready", cmmeta.ConditionFalse, "Pending")}, outcomePending, "Pending"},
		{"issued", []func(*cmapi.CertificateRequestStatus){issued}, outcomeIssued, "Issued"},
		{"failed", []func(*cmapi.CertificateRequestStatus){failed}, outcomeFailed, "Failed"},
		{"denied", []func(*cmapi.CertificateRequestStatus){denied}, outcomeFailed, "Policy"},
		{"denied, in the signer's words only", []func(*cmapi.CertificateRequestStatus){set("Ready", cmmeta.ConditionFalse, "Denied")}, outcomeFailed, "Denied"},
		{"not denied", []func(*cmapi.CertificateRequestStatus){issued, set("Denied", cmmeta.ConditionFalse, "x")}, outcomeIssued, "Issued"},
		{"denied and failed", []func(*cmapi.CertificateRequestStatus){failed, denied}, outcomeFailed, "Policy"},
		{"invalid and issued", []func(*cmapi.CertificateRequestStatus){issued, set("InvalidRequest", cmmeta.ConditionTrue, "Bad")}, outcomeFailed, "Bad"},
	} {
		var st cmapi.CertificateRequestStatus
		for _, set := range tc.sets {
			set(&st)
		}
		if got, says, _ := outcomeOf(&st); got != tc.want || says != tc.says {
			t.Errorf("%s: %d %q", tc.reason, got, says)
		}
	}
}

func TestRequestStatuses(t *testing.T) {
	var st cmapi.CertificateRequestStatus
	setApproved(&st, start)
	setProblem(&st, start, &issuer.Problem{Reason: "IssuerNotFound", Message: "none", Pending: true})
	if settled(&st) || st.FailureTime != nil {
		t.Error("a pending request has settled")
	}
	setProblem(&st, start.Add(time.Hour), &issuer.Problem{Reason: "SigningError", Message: "no"})
	if !settled(&st) || !st.FailureTime.Equal(at(start.Add(time.Hour))) {
		t.Errorf("a failed request has not settled: %+v", st)
	}
	if c := requestCondition(&st, "Ready"); !c.LastTransitionTime.Equal(at(start)) {
		t.Errorf("the transition time moved to %s though the status stayed False", c.LastTransitionTime)
	}
	setIssued(&st, start, issuer.Signed{Note: "shortened"})
	if c := requestCondition(&st, "Ready"); c.Message != issuedMessage+"; shortened" || c.Reason != "Issued" {
		t.Errorf("issued: %+v", c)
	}
}

func TestRevisionOf(t *testing.T) {
	owned := []metav1.OwnerReference{{Kind: "Certificate", Name: "web", Controller: ptr.To(true)}}
	for _, tc := range []struct {
		reason, name, annotation string
		owners                   []metav1.OwnerReference
		want                     int
	}{
		{"as annotated", "web-7", "3", owned, 3},
		{"as annotated, in a name of another's making", "web-x7k2p", "3", owned, 3},
		{"no number", "web-7", "x", owned, 0},
		{"less than none", "web-7", "-1", owned, 0},
		{"as named", "web-7", "", owned, 7},
		{"a name that is no number", "web-x7k2p", "", owned, 0},
		{"another Certificate's name", "shop-7", "", owned, 0},
		{"nobody's", "web-7", "", nil, 0},
	} {
		r := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: tc.name, OwnerReferences: tc.owners}}
		if tc.annotation != "" {
			r.Annotations = map[string]string{annRevision: tc.annotation}
		}
		if got := revisionOf(r); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.reason, got, tc.want)
		}
	}
}

func TestNames(t *testing.T) {
	long := string(make([]byte, 0, 253))
	for len(long) < 253 {
		long += "x"
	}
	for _, tc := range []struct {
		certificate string
		revision    int
		want        string
	}{
		{"web", 1, "web-1"}, {long[:251], 1, long[:251] + "-1"}, {long[:251], 10, long[:241] + "-" + requestName(long[:251], 10)[242:250] + "-10"},
	} {
		if got := requestName(tc.certificate, tc.revision); got != tc.want || len(got) > maxNameLength {
			t.Errorf("%s: %s, want %s", tc.certificate, got, tc.want)
		}
	}
	if requestName(long+"a", 1) == requestName(long+"b", 1) {
		t.Error("two long names have one request")
	}
}

func TestWritten(t *testing.T) {
	w := &written{}
	if w.behind("a", "1", start) {
		t.Error("what was never written is behind")
	}
	w.add("a", "10", start)
	for _, tc := range []struct {
		cached string
		at     time.Time
		want   bool
	}{{"9", start, true}, {"", start, true}, {"10", start, false}, {"11", start, false}, {"9", start, true}} {
		if got := w.behind("a", tc.cached, tc.at); got != tc.want {
			t.Errorf("cached %q: behind %t", tc.cached, got)
		}
	}
	w.add("a", "10", start)
	if w.behind("a", "9", start.Add(writtenFor)) {
		t.Error("a write is waited for without end")
	}
	w.hold("a", start)
	if !w.behind("a", "18446744073709551615", start) {
		t.Error("what is held can be touched")
	}
	w.release("a")
	if w.behind("a", "1", start) {
		t.Error("what was released is held")
	}
	for i := range 5000 {
		w.add(string(rune(i)), "1", start.Add(time.Duration(i)*time.Second))
	}
	if len(w.versions) > 100 {
		t.Errorf("%d writes are remembered of which nobody asks", len(w.versions))
	}
}

func TestApproves(t *testing.T) {
	ref := func(name, kind, group string) cmmeta.IssuerReference {
		return cmmeta.IssuerReference{Name: name, Kind: kind, Group: group}
	}
	for _, tc := range []struct {
		signers []string
		ref     cmmeta.IssuerReference
		want    bool
	}{
		{DefaultSigners(), ref("ca", "", ""), true},
		{DefaultSigners(), ref("ca", "ClusterIssuer", "cert-manager.io"), true},
		{DefaultSigners(), ref("ca", "StepIssuer", "step.sm"), false},
		{[]string{"stepissuers.step.sm/*"}, ref("ca", "StepIssuer", "step.sm"), true},
		{[]string{"issuers.cert-manager.io/ns.ca"}, ref("ca", "", ""), true},
		{[]string{"issuers.cert-manager.io/other.ca"}, ref("ca", "", ""), false},
		{[]string{"issuers.cert-manager.io/ca"}, ref("ca", "", ""), false},
		{[]string{"clusterissuers.cert-manager.io/ca"}, ref("ca", "ClusterIssuer", ""), true},
		{[]string{"clusterissuers.cert-manager.io/ns.ca"}, ref("ca", "ClusterIssuer", ""), false},
		{nil, ref("ca", "", ""), false},
	} {
		if got := (Approver{Enabled: true, Signers: tc.signers}).Approves(tc.ref, "ns"); got != tc.want {
			t.Errorf("%v by %v: %t", tc.ref, tc.signers, got)
		}
	}
	if (Approver{Signers: DefaultSigners()}).Approves(ref("ca", "", ""), "ns") {
		t.Error("approval that is off approves")
	}
}

func TestCopies(t *testing.T) {
	for _, tc := range []struct {
		prefixes []string
		key      string
		want     bool
	}{
		{nil, "a", false},
		{[]string{"*"}, "a", true},
		{[]string{"*", "-kubectl.kubernetes.io/"}, "kubectl.kubernetes.io/last-applied-configuration", false},
		{[]string{"-kubectl.kubernetes.io/", "*"}, "kubectl.kubernetes.io/last-applied-configuration", false},
		{[]string{"example.org/"}, "example.org/a", true},
		{[]string{"example.org/"}, "example.com/a", false},
	} {
		if got := (&Certificates{CopiedAnnotations: tc.prefixes}).copies(tc.key); got != tc.want {
			t.Errorf("%q by %q: %t", tc.key, tc.prefixes, got)
		}
	}
}

func TestForgetsDeletedSecrets(t *testing.T) {
	secret := func(version string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", ResourceVersion: version}}
	}
	for gone, remembered := range map[string]bool{"9": true, "10": false, "11": false} {
		s := &Secrets{}
		s.Remember(secret("10"))
		s.deleted(secret(gone))
		if _, ok := s.recall(keyOf("ns", "s")); ok != remembered {
			t.Errorf("deleted at %s, remembered %t", gone, ok)
		}
	}
}
