package pki

import (
	"hash/fnv"
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

// Schedule is when a certificate is to be renewed.
type Schedule struct {
	// At is status.renewalTime; zero where renewal is off.
	At time.Time
	// Start is when the work begins: at At or a little later, so that what was issued together is not renewed together.
	Start time.Time
	// NoWindow tells that none of spec.renewal.windows opens before the certificate expires: At is then outside of them.
	NoWindow bool
}

// maxSpread bounds how long after its renewal time a renewal begins.
const maxSpread = time.Hour

// NewSchedule applies spec.renewal.windows to RenewalTime, and spreads: the work starts after a part of 1 % of the time from issuance
// to renewal, or of an hour if that is less, which identity decides.
func NewSchedule(spec *cmapi.CertificateSpec, identity string, notBefore, notAfter time.Time) Schedule {
	s := Schedule{At: RenewalTime(spec, notBefore, notAfter)}
	if s.At.IsZero() {
		return s
	}
	var windows []Window
	if spec.Renewal != nil && len(spec.Renewal.Windows) > 0 {
		var err error
		if windows, err = ParseWindows(spec.Renewal.Windows); err == nil {
			s.At, err = InWindow(windows, s.At, notBefore, notAfter)
		}
		s.NoWindow = err != nil
	}
	s.Start = s.At.Add(spread(identity, s.At.Sub(notBefore)))
	if len(windows) > 0 && !s.NoWindow {
		if open, err := InWindow(windows, s.Start, notBefore, notAfter); err != nil || !open.Equal(s.Start) {
			s.Start = s.At
		}
	}
	return s
}

// spread returns an identity's share of the time over which renewals are spread.
func spread(identity string, age time.Duration) time.Duration {
	span := min(age/100, maxSpread)
	if identity == "" || span <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(identity))
	return time.Duration(h.Sum64() % uint64(span)).Truncate(time.Second)
}
