package signingrequest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/pki"
)

// approved is a State in which a request to Issuer a/ca can be signed.
func approved() State {
	return State{
		Request: &certificatesv1.CertificateSigningRequest{
			Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: "issuers.cert-manager.io/a.ca", Request: []byte("csr"), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth},
			},
			Status: certificatesv1.CertificateSigningRequestStatus{
				Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved}},
			},
		},
		Issuer: &Issuer{Type: typeCA, Ready: true}, MayReference: ptr.To(true), ClusterNamespace: "cm",
	}
}

func signs(kind, name, namespace, keySecret string) Sign {
	return Sign{Namespace: namespace, KeySecret: keySecret, Spec: cmapi.CertificateRequestSpec{
		Request: []byte("csr"), Usages: []cmapi.KeyUsage{cmapi.UsageServerAuth}, Duration: &metav1.Duration{Duration: 90 * 24 * time.Hour},
		IssuerRef: cmmeta.IssuerReference{Name: name, Kind: kind, Group: "cert-manager.io"},
	}}
}

func TestDecide(t *testing.T) {
	annotate := func(key, value string) func(*State) {
		return func(s *State) { s.Request.Annotations = map[string]string{key: value} }
	}
	condition := func(kind certificatesv1.RequestConditionType) func(*State) {
		return func(s *State) {
			s.Request.Status.Conditions = append(s.Request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: kind})
		}
	}
	to := func(signer string) func(*State) { return func(s *State) { s.Request.Spec.SignerName = signer } }
	all := func(list ...func(*State)) func(*State) {
		return func(s *State) {
			for _, f := range list {
				f(s)
			}
		}
	}
	ofType := func(kind string) func(*State) { return func(s *State) { s.Issuer.Type = kind } }
	for _, tc := range []struct {
		reason string
		set    func(*State)
		want   Decision
	}{
		{"everything is in place", func(*State) {}, signs("Issuer", "ca", "a", "")},
		{"a ClusterIssuer needs no right, and has its Secrets elsewhere",
			all(to("clusterissuers.cert-manager.io/ca"), func(s *State) { s.MayReference = nil }), signs("ClusterIssuer", "ca", "cm", "")},
		{"another signer's is not ours", to("kubernetes.io/kube-apiserver-client"), Ignore{}},
		{"it has a certificate", func(s *State) { s.Request.Status.Certificate = []byte("x") }, Ignore{}},
		{"it has failed", condition(certificatesv1.CertificateFailed), Ignore{}},
		{"it was denied", condition(certificatesv1.CertificateDenied), Ignore{}},
		{"it is being deleted", func(s *State) { s.Request.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, Ignore{}},
		{"nobody has approved it", func(s *State) { s.Request.Status.Conditions = nil },
			Wait{"Normal", "WaitingApproval", "Waiting for the Approved condition before issuing"}},
		{"a signer name without a namespace can never be found", to("issuers.cert-manager.io/ca"),
			Wait{"Warning", "IssuerNotFound", `spec.signerName "issuers.cert-manager.io/ca" names no issuer: it has to be issuers.cert-manager.io/<namespace>.<name> or clusterissuers.cert-manager.io/<name>`}},
		{"no issuer, and nobody is asked for a right to it", func(s *State) { s.Issuer, s.MayReference = nil, nil },
			Wait{"Warning", "IssuerNotFound", "Referenced Issuer a/ca not found"}},
		{"an issuer of no type", ofType(""), Wait{"Warning", "IssuerTypeMissing", "Referenced Issuer a/ca is missing type"}},
		{"an issuer that somebody else may serve, whatever the requester may", all(ofType(typeACME), func(s *State) { s.MayReference = nil }),
			Wait{"Warning", "IssuerTypeNotSupported", "Referenced Issuer a/ca is of type acme, which trustglass does not serve for CertificateSigningRequests: use selfSigned or ca"}},
		{"the right has to be asked for", func(s *State) { s.MayReference = nil }, Review{}},
		{"the right is asked for before the issuer is ready", func(s *State) { s.MayReference, s.Issuer.Ready = nil, false }, Review{}},
		{"no right", func(s *State) { s.MayReference = ptr.To(false) }, Fail{"DeniedReference", "Requester may not reference Namespaced Issuer a/ca"}},
		{"a duration that is none", annotate(annDuration, "forever"),
			Fail{"ErrorParseDuration", `Failed to parse requested duration: annotation experimental.cert-manager.io/request-duration: time: invalid duration "forever"`}},
		{"too short, though the issuer is not ready", all(annotate(annDuration, "9m59s"), func(s *State) { s.Issuer.Ready = false }),
			Fail{"InvalidDuration", "CertificateSigningRequest minimum allowed duration is 10m0s, requested 9m59s"}},
		{"a negative duration", annotate(annDuration, "-1h"), Fail{"InvalidDuration", "CertificateSigningRequest minimum allowed duration is 10m0s, requested -1h0m0s"}},
		{"an issuer that nobody has looked at", func(s *State) { s.Issuer.Ready = false },
			Wait{"Warning", "IssuerNotReady", "Referenced Issuer a/ca does not have a Ready status condition"}},
		{"an issuer that says what it lacks", func(s *State) { s.Issuer = &Issuer{Type: typeCA, Why: "ErrGetKeyPair: no Secret"} },
			Wait{"Warning", "IssuerNotReady", "Referenced Issuer a/ca does not have a Ready status condition: ErrGetKeyPair: no Secret"}},
		{"self-signing needs a key", ofType(typeSelfSigned),
			Fail{"MissingAnnotation", `Missing private key reference annotation: "experimental.cert-manager.io/private-key-secret-name" names the Secret with the private key that signed the request`}},
		{"self-signing with a key", all(ofType(typeSelfSigned), annotate(annKeySecret, "key")), signs("Issuer", "ca", "a", "key")},
		{"self-signing by a ClusterIssuer: the key lies where its Secrets do",
			all(ofType(typeSelfSigned), annotate(annKeySecret, "key"), to("clusterissuers.cert-manager.io/self")), signs("ClusterIssuer", "self", "cm", "key")},
	} {
		s := approved()
		tc.set(&s)
		if diff := cmp.Diff(tc.want, decide(s)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestConclude(t *testing.T) {
	signed := issuer.Signed{Bundle: pki.Bundle{Chain: []byte("chain"), CA: []byte("ca")}}
	noted := signed
	noted.Note = "valid only until noon"
	for _, tc := range []struct {
		reason, issuerType string
		signed             issuer.Signed
		problem            *issuer.Problem
		want               Decision
	}{
		{"signed by a CA", typeCA, signed, nil, Issue{[]byte("chain"), "Certificate fetched from issuer successfully"}},
		{"signed with its own key", typeSelfSigned, signed, nil, Issue{[]byte("chain"), "Certificate self signed successfully"}},
		{"signed for less than was asked", typeCA, noted, nil, Issue{[]byte("chain"), "Certificate fetched from issuer successfully; valid only until noon"}},
		{"the CA's Secret is gone", typeCA, issuer.Signed{}, &issuer.Problem{Reason: "SecretMissing", Message: "m", Pending: true}, Wait{"Warning", "SecretMissing", "m"}},
		{"the key is not there yet", typeSelfSigned, issuer.Signed{}, &issuer.Problem{Reason: "MissingSecret", Message: "m", Pending: true}, Wait{"Warning", "SecretNotFound", "m"}},
		{"the key is garbage, which can be put right", typeSelfSigned, issuer.Signed{}, &issuer.Problem{Reason: "ErrorParsingKey", Message: "m"}, Wait{"Warning", "ErrorParsingKey", "m"}},
		{"another key", typeSelfSigned, issuer.Signed{}, &issuer.Problem{Reason: "ErrorKeyMatch", Message: "m"}, Fail{"ErrorKeyMatch", "m"}},
		{"what a CertificateRequest calls a field is an annotation here", typeCA, issuer.Signed{},
			&issuer.Problem{Reason: "SigningError", Message: "the CSR's basic constraints do not agree with spec.isCA"},
			Fail{"SigningError", "the CSR's basic constraints do not agree with annotation experimental.cert-manager.io/request-is-ca"}},
	} {
		if diff := cmp.Diff(tc.want, conclude(tc.issuerType, tc.signed, tc.problem)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestIssuerOf(t *testing.T) {
	ready := func(status cmmeta.ConditionStatus, reason, message string) *cmapi.IssuerStatus {
		return &cmapi.IssuerStatus{Conditions: []cmapi.IssuerCondition{{Type: "Other"}, {Type: cmapi.IssuerConditionReady, Status: status, Reason: reason, Message: message}}}
	}
	for _, tc := range []struct {
		reason string
		config cmapi.IssuerConfig
		status *cmapi.IssuerStatus
		want   Issuer
	}{
		{"nothing", cmapi.IssuerConfig{}, &cmapi.IssuerStatus{}, Issuer{}},
		{"ready", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}, ready("True", "IsReady", ""), Issuer{Type: typeSelfSigned, Ready: true}},
		{"not ready", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{}}, ready("False", "ErrGetKeyPair", "no Secret"), Issuer{Type: typeCA, Why: "ErrGetKeyPair: no Secret"}},
		{"not ready without a word", cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{}}, ready("Unknown", "Odd", ""), Issuer{Type: typeVault, Why: "Odd"}},
		{"venafi", cmapi.IssuerConfig{Venafi: &cmapi.VenafiIssuer{}}, &cmapi.IssuerStatus{}, Issuer{Type: typeVenafi}},
	} {
		if diff := cmp.Diff(&tc.want, issuerOf(&cmapi.IssuerSpec{IssuerConfig: tc.config}, tc.status)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

// Each thing is said once: again when it is another thing, another request of the same name, or after an end.
func TestTold(t *testing.T) {
	var told told
	a := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "1"}}
	again := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "2"}}
	one, two := Wait{"Normal", "One", ""}, Wait{"Normal", "Two", ""}
	for i, step := range []struct {
		req  *certificatesv1.CertificateSigningRequest
		wait Wait
		want bool
	}{{a, one, true}, {a, one, false}, {a, two, true}, {a, two, false}, {again, two, true}} {
		if got := told.first(step.req, step.wait); got != step.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	told.forget("a")
	if len(told.last) != 0 {
		t.Errorf("remembered %v", told.last)
	}
}
