package pki

import (
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// RenewalTime returns when a certificate valid from notBefore to notAfter is to be renewed, in whole seconds; the zero time when
// spec.renewal turns renewal off. cert-manager's rule: renewBefore where it lies within the actual lifetime, else
// renewBeforePercentage (of the lifetime that must remain), else at two thirds of the lifetime.
func RenewalTime(spec *cmapi.CertificateSpec, notBefore, notAfter time.Time) time.Time {
	if spec.Renewal != nil && spec.Renewal.Policy == cmapi.CertificateRenewalPolicyDisabled {
		return time.Time{}
	}
	lifetime := notAfter.Sub(notBefore)
	before := lifetime / 3
	switch {
	case spec.RenewBefore != nil && spec.RenewBefore.Duration > 0 && spec.RenewBefore.Duration < lifetime:
		before = spec.RenewBefore.Duration
	case spec.RenewBeforePercentage != nil && *spec.RenewBeforePercentage > 0 && *spec.RenewBeforePercentage < 100:
		before = lifetime / 100 * time.Duration(*spec.RenewBeforePercentage) // in this order a long lifetime does not overflow
	}
	return notAfter.Add(-before).Truncate(time.Second)
}
