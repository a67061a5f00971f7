package pki

import (
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Window is a recurring time in which a certificate may be renewed: it opens when its schedule says and stays open for Length.
type Window struct {
	schedule cron.Schedule
	zone     *time.Location
	Length   time.Duration
}

// MaxWindows is how many entries spec.renewal.windows may have.
const MaxWindows = 64

// ErrNoWindow says that no window is open between a certificate's due time and its end.
var ErrNoWindow = errors.New("no renewal window opens before the certificate expires")

var cronFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// ParseWindows reads spec.renewal.windows: a schedule of five fields, an IANA time zone (UTC if none) and a length. An error names
// the entry and the field at fault.
func ParseWindows(list []cmapi.CertificateRenewalWindows) ([]Window, error) {
	if len(list) > MaxWindows {
		return nil, fmt.Errorf("spec.renewal.windows: %d are more than the %d allowed", len(list), MaxWindows)
	}
	var out []Window
	for i, w := range list {
		if w.WindowDuration == nil || w.WindowDuration.Duration <= 0 {
			return nil, fmt.Errorf("spec.renewal.windows[%d].windowDuration: say how long the window is open, such as 4h", i)
		}
		if len(w.Cron) > 256 {
			return nil, fmt.Errorf("spec.renewal.windows[%d].cron: %d bytes are more than the 256 allowed", i, len(w.Cron))
		}
		schedule, err := parseCron(w.Cron)
		if err != nil {
			return nil, fmt.Errorf("spec.renewal.windows[%d].cron: %w", i, err)
		}
		zone := time.UTC
		if w.Timezone != "" && w.Timezone != "Local" {
			if zone, err = time.LoadLocation(w.Timezone); err != nil {
				return nil, fmt.Errorf("spec.renewal.windows[%d].timezone: %q is not an IANA time zone such as Europe/Berlin", i, w.Timezone)
			}
		} else if w.Timezone == "Local" {
			return nil, fmt.Errorf("spec.renewal.windows[%d].timezone: %q is not an IANA time zone such as Europe/Berlin", i, w.Timezone)
		}
		out = append(out, Window{schedule: schedule, zone: zone, Length: w.WindowDuration.Duration})
	}
	return out, nil
}

func parseCron(text string) (_ cron.Schedule, err error) {
	if len(text) > 0 && (text[0] == '@' || text[0] == 'T' || text[0] == 'C') { // descriptors, TZ= and CRON_TZ=
		return nil, fmt.Errorf("%q is not a schedule of five fields such as \"0 2 * * 6\"", text)
	}
	schedule, err := cronFields.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a schedule of five fields such as \"0 2 * * 6\": %w", text, err)
	}
	return schedule, nil
}

// InWindow returns when, at due or after it, a window is open and the certificate, valid from notBefore to notAfter, may thus be
// renewed: due itself if a window is open then, else the next opening. cert-manager looks a window's length past either end of the
// validity, so an opening just after the end counts. ErrNoWindow if there is none.
func InWindow(windows []Window, due, notBefore, notAfter time.Time) (time.Time, error) {
	var first time.Time
	for _, w := range windows {
		at, ok := w.next(due, notBefore, notAfter)
		if ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		return due, ErrNoWindow
	}
	return first, nil
}

// next returns the first time, due or later, at which the window is open.
func (w Window) next(due, notBefore, notAfter time.Time) (time.Time, bool) {
	// The opening that due may lie within is at most Length before it, and after due's own second counts as due.
	from := due.Add(-w.Length)
	if earliest := notBefore.Add(-w.Length); from.Before(earliest) {
		from = earliest
	}
	opens := w.schedule.Next(from.In(w.zone))
	if opens.IsZero() || opens.After(notAfter.Add(w.Length)) {
		return time.Time{}, false
	}
	if opens.After(due) {
		return opens.UTC(), true
	}
	return due, true
}
