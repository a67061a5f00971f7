package issuance

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

func TestManualTrigger(t *testing.T) {
	w := goodOrder(t)
	w.issuing(cmmeta.ConditionTrue, "ManuallyTriggered", "Certificate re-issuance manually triggered")
	got, _ := decide(w.State)
	if diff := cmp.Diff(Decision(Issue{"ManuallyTriggered", "Certificate re-issuance manually triggered"}), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	w.Cert.Spec.Renewal = &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}
	if got, _ := decide(w.State); got != (Issue{"ManuallyTriggered", "Certificate re-issuance manually triggered"}) {
		t.Errorf("with renewal off: %+v", got)
	}
}

func TestRotationPolicyNever(t *testing.T) {
	never := func(w *world) { w.Cert.Spec.PrivateKey.RotationPolicy = cmapi.RotationPolicyNever }
	for _, tc := range []struct {
		reason string
		set    func(*world)
		keeps  bool
		want   string
	}{
		{"Always", func(*world) {}, false, "Renewing"},
		{"Never, and the key fits", never, true, "Renewing"},
		{"Never, and there is no Secret yet", func(w *world) { never(w); w.Secret = nil }, false, "DoesNotExist"},
		{"Never, and the certificate was blanked: the key stays", func(w *world) {
			never(w)
			w.seeSecret(func(s *corev1.Secret) { s.Data["tls.crt"] = nil })
		}, true, "MissingData"},
		{"Never, and the key does not parse", func(w *world) {
			never(w)
			w.seeSecret(func(s *corev1.Secret) { s.Data["tls.key"] = []byte("x") })
		}, false, "InvalidKeyPair"},
		{"Never, and the key does not fit", func(w *world) { never(w); w.Cert.Spec.PrivateKey.Size = 384 }, true, "CannotRegenerateKey"},
	} {
		w := goodOrder(t)
		w.Now = start.Add(60 * day)
		tc.set(w)
		if got := keepsKey(w.State); got != tc.keeps {
			t.Errorf("%s: the key stays: %t", tc.reason, got)
		}
		d, _ := decide(w.State)
		got := ""
		switch d := d.(type) {
		case Issue:
			got = d.Reason
		case Reject:
			got = d.Reason
			if !strings.Contains(d.Message, "rotationPolicy Never the key stays; set Always, or delete the Secret") {
				t.Errorf("%s: %q does not say what to do", tc.reason, d.Message)
			}
		}
		if got != tc.want {
			t.Errorf("%s: %+v", tc.reason, d)
		}
	}
}

func TestRejectAndYield(t *testing.T) {
	w := goodOrder(t)
	w.Owner = "older"
	if got, _ := decide(w.State); got != (Yield{"older"}) {
		t.Errorf("with another owner: %+v", got)
	}
	w.Cert.Spec.DNSNames = nil
	got, discard := decide(w.State)
	if r, ok := got.(Reject); !ok || r.Reason != "InvalidSpec" || discard != nil {
		t.Errorf("without a name: %+v", got)
	}
}

func TestOwnerAmong(t *testing.T) {
	named := func(name string, age time.Duration) cmapi.Certificate {
		return cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start.Add(-age))}}
	}
	issuedFor := func(name string) *SecretView {
		return &SecretView{Annotations: pairs{{annCertificate, name}}}
	}
	for _, tc := range []struct {
		reason   string
		siblings []cmapi.Certificate
		secret   *SecretView
		want     string
	}{
		{"the oldest", []cmapi.Certificate{named("a", 1), named("b", time.Hour)}, nil, "b"},
		{"ties by name", []cmapi.Certificate{named("b", time.Hour), named("a", time.Hour)}, nil, "a"},
		{"the one that it was issued for", []cmapi.Certificate{named("a", time.Hour), named("b", 1)}, issuedFor("b"), "b"},
		{"issued for one that is gone", []cmapi.Certificate{named("a", time.Hour), named("b", 1)}, issuedFor("c"), "a"},
	} {
		if got := ownerAmong(tc.siblings, tc.secret); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
}

func TestSurplus(t *testing.T) {
	w := goodOrder(t)
	w.Cert.Status.Revision = ptr.To(4)
	var history []*Request
	for _, revision := range []int{3, 5, 1, 4, 2} { // 5 is under way
		history = append(history, w.request(revision, w.pair))
	}
	bad := w.request(0, w.pair)
	bad.Name, bad.Annotations[annRevision] = "bad", "x"
	history = append(history, bad)
	for _, tc := range []struct {
		reason string
		set    func()
		want   []string
	}{
		{"one stays", func() {}, []string{"bad", "web-1", "web-2", "web-3"}},
		{"three stay", func() { w.Cert.Spec.RevisionHistoryLimit = ptr.To[int32](3) }, []string{"bad", "web-1"}},
		{"more than there are", func() { w.Cert.Spec.RevisionHistoryLimit = ptr.To[int32](9) }, nil},
		{"not while the Secret is no key pair", func() { w.Cert.Spec.RevisionHistoryLimit = nil; w.Secret.Digest.Flaw = pki.NoCert }, nil},
	} {
		tc.set()
		var got []string
		for _, r := range surplus(w.State, history) {
			got = append(got, r.Name)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}
