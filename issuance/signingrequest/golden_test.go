package signingrequest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// statusOnly are the writes of a request that is signed or fails: one of the object.
var statusOnly = map[string]int{"update certificatesigningrequests/status": 1}

func since(t *testing.T, before map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range testenv.Writes(t) {
		if n -= before[k]; n != 0 {
			out[k] = n
		}
	}
	return out
}

// exactly waits until the writes since before are want, then lets another request go through the same queue, and finds that there
// were no others.
func (l *lab) exactly(what string, before, want map[string]int) {
	l.t.Helper()
	testenv.Eventually(l.t, what, func() error {
		if diff := cmp.Diff(want, since(l.t, before)); diff != "" {
			return fmt.Errorf("-want +got\n%s", diff)
		}
		return nil
	})
	before = testenv.Writes(l.t)
	name := fmt.Sprintf("probe-%d", before["update certificatesigningrequests/status"])
	l.request(name, l.clusterName("ca"), nil)
	l.issued(name)
	if diff := cmp.Diff(statusOnly, since(l.t, before)); diff != "" {
		l.t.Errorf("after %s: -want +got\n%s", what, diff)
	}
}

func TestWrites(t *testing.T) {
	l := newLab(t)
	l.ca()
	stop := l.start(nil)
	for what, tc := range map[string]struct {
		signer string
		set    func(*certificatesv1.CertificateSigningRequest)
		want   map[string]int
	}{
		"a ClusterIssuer's certificate": {l.clusterName("ca"), nil, statusOnly},
		"an Issuer's certificate":       {l.issuerName("ca"), nil, statusOnly},
		"a failure":                     {l.clusterName("ca"), annotated(annDuration, "1s"), statusOnly},
		"a request that waits":          {l.clusterName("none"), nil, map[string]int{}},
	} {
		before := testenv.Writes(t)
		l.request(strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(what)), tc.signer, tc.set)
		l.exactly(what, before, tc.want)
	}
	stop()
	before := testenv.Writes(t)
	l.start(nil)
	l.exactly("a restart with everything in place", before, map[string]int{})
}

// Requests that cert-manager has issued, failed or is yet to see approved, as its field managers leave them, are not written again.
func TestTakeover(t *testing.T) {
	l := newLab(t)
	l.ca()
	admin := testenv.Admin()
	manager := client.FieldOwner("cert-manager-certificatesigningrequests-issuer-ca")
	stop := l.start(nil)
	l.request("issued", l.issuerName("ca"), nil)
	chain := pki.EncodeCertificates(l.issued("issued")...)
	stop()
	l.request("old", l.issuerName("ca"), nil)
	old := l.get("old")
	old.Status.Certificate = chain
	if err := admin.Status().Update(ctx, old, manager); err != nil {
		t.Fatal(err)
	}
	l.request("failed", l.issuerName("ca"), nil)
	failed := l.get("failed")
	failed.Status.Conditions = append(failed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SigningError", Message: "Error signing certificate: no",
	})
	if err := admin.Status().Update(ctx, failed, manager); err != nil {
		t.Fatal(err)
	}
	l.ask(admin, "open", l.issuerName("ca"), nil)
	before, versions := testenv.Writes(t), map[string]string{}
	for _, name := range []string{"issued", "old", "failed", "open"} {
		versions[name] = l.get(name).ResourceVersion
	}
	l.start(nil)
	l.exactly("a takeover", before, map[string]int{})
	after := maps.Clone(versions)
	for name := range versions {
		after[name] = l.get(name).ResourceVersion
	}
	if diff := cmp.Diff(versions, after); diff != "" {
		t.Errorf("resourceVersions: -before +after\n%s", diff)
	}
	l.judge("open", certificatesv1.CertificateApproved)
	l.issued("open")
}
