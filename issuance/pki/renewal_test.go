package pki

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func TestRenewalTime(t *testing.T) {
	const day = 24 * time.Hour
	before := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	for _, tc := range []struct {
		reason   string
		spec     cmapi.CertificateSpec
		lifetime time.Duration
		want     time.Duration // after notBefore
	}{
		{"two thirds of the lifetime", cmapi.CertificateSpec{}, 90 * day, 60 * day},
		{"of the actual lifetime, whatever was asked for", cmapi.CertificateSpec{Duration: before(90 * day)}, 3 * day, 2 * day},
		{"renewBefore", cmapi.CertificateSpec{RenewBefore: before(10 * day)}, 90 * day, 80 * day},
		{"renewBefore as long as the lifetime counts for nothing", cmapi.CertificateSpec{RenewBefore: before(90 * day)}, 90 * day, 60 * day},
		{"nor does a longer one", cmapi.CertificateSpec{RenewBefore: before(100 * day)}, 90 * day, 60 * day},
		{"nor one of zero", cmapi.CertificateSpec{RenewBefore: before(0)}, 90 * day, 60 * day},
		{"nor a negative one", cmapi.CertificateSpec{RenewBefore: before(-day)}, 90 * day, 60 * day},
		{"the percentage that must remain", cmapi.CertificateSpec{RenewBeforePercentage: ptr.To[int32](25)}, 100 * day, 75 * day},
		{"a percentage of 0 counts for nothing", cmapi.CertificateSpec{RenewBeforePercentage: ptr.To[int32](0)}, 90 * day, 60 * day},
		{"nor does one of 100", cmapi.CertificateSpec{RenewBeforePercentage: ptr.To[int32](100)}, 90 * day, 60 * day},
		{"the percentage steps in for an unfit renewBefore", cmapi.CertificateSpec{RenewBefore: before(200 * day), RenewBeforePercentage: ptr.To[int32](10)}, 100 * day, 90 * day},
		{"a century does not overflow", cmapi.CertificateSpec{RenewBeforePercentage: ptr.To[int32](99)}, 36500 * day, 365 * day},
		{"whole seconds", cmapi.CertificateSpec{}, 100 * time.Second, 66 * time.Second},
		{"a policy that says the default", cmapi.CertificateSpec{Renewal: &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyRenewBefore}}, 90 * day, 60 * day},
	} {
		if got := RenewalTime(&tc.spec, now, now.Add(tc.lifetime)); !got.Equal(now.Add(tc.want)) {
			t.Errorf("%s: after %s, want %s", tc.reason, got.Sub(now), tc.want)
		}
	}
	off := cmapi.CertificateSpec{Renewal: &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}}
	if got := RenewalTime(&off, now, now.Add(day)); !got.IsZero() {
		t.Errorf("renewal that is off is due at %s", got)
	}
}
