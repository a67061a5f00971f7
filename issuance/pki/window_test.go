package pki

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func window(cron, zone string, length time.Duration) cmapi.CertificateRenewalWindows {
	return cmapi.CertificateRenewalWindows{Cron: cron, Timezone: zone, WindowDuration: &metav1.Duration{Duration: length}}
}

func TestInWindow(t *testing.T) {
	// Sunday 2026-03-01 12:00 UTC
	for _, tc := range []struct {
		reason  string
		windows []cmapi.CertificateRenewalWindows
		want    string // empty for none
	}{
		{"the next opening", []cmapi.CertificateRenewalWindows{window("0 2 * * *", "", time.Hour)}, "2026-03-02T02:00:00Z"},
		{"within one: at once", []cmapi.CertificateRenewalWindows{window("0 11 * * *", "", 2*time.Hour)}, "2026-03-01T12:00:00Z"},
		{"at its very opening", []cmapi.CertificateRenewalWindows{window("0 12 * * *", "", time.Hour)}, "2026-03-01T12:00:00Z"},
		{"at its very end it is closed", []cmapi.CertificateRenewalWindows{window("0 11 * * *", "", time.Hour)}, "2026-03-02T11:00:00Z"},
		{"in its own time zone", []cmapi.CertificateRenewalWindows{window("0 2 * * *", "America/New_York", time.Hour)}, "2026-03-02T07:00:00Z"},
		{"the earliest of several", []cmapi.CertificateRenewalWindows{window("0 4 * * *", "", time.Hour), window("0 3 * * 1", "", time.Hour)}, "2026-03-02T03:00:00Z"},
		{"none before the end", []cmapi.CertificateRenewalWindows{window("0 2 1 1 *", "", time.Hour)}, ""},
		{"on a day that never comes", []cmapi.CertificateRenewalWindows{window("0 2 30 2 *", "", time.Hour)}, ""},
	} {
		windows, err := ParseWindows(tc.windows)
		if err != nil {
			t.Fatalf("%s: %v", tc.reason, err)
		}
		at, err := InWindow(windows, now, now.AddDate(0, 0, -60), now.AddDate(0, 0, 30))
		if tc.want == "" {
			if !errors.Is(err, ErrNoWindow) || !at.Equal(now) {
				t.Errorf("%s: %s, %v", tc.reason, at, err)
			}
			continue
		}
		if err != nil || at.UTC().Format(time.RFC3339) != tc.want {
			t.Errorf("%s: %s, %v, want %s", tc.reason, at.UTC().Format(time.RFC3339), err, tc.want)
		}
	}
}

func TestParseWindowsRefuses(t *testing.T) {
	for want, w := range map[string]cmapi.CertificateRenewalWindows{
		"windows[0].windowDuration": {Cron: "* * * * *"},
		"windows[0].cron":           window("* * * *", "", time.Hour),
		"five fields":               window("@daily", "", time.Hour),
		"a schedule":                window("CRON_TZ=UTC * * * * *", "", time.Hour),
		"windows[0].timezone":       window("* * * * *", "Mars/Olympus", time.Hour),
		"IANA":                      window("* * * * *", "Local", time.Hour),
		"bytes":                     window(strings.Repeat("1,", 300)+" * * * *", "", time.Hour),
	} {
		if _, err := ParseWindows([]cmapi.CertificateRenewalWindows{w}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", w, err, want)
		}
	}
	if _, err := ParseWindows(make([]cmapi.CertificateRenewalWindows, MaxWindows+1)); err == nil {
		t.Error("any number of windows is taken")
	}
}

func TestSchedule(t *testing.T) {
	const day = 24 * time.Hour
	spec := &cmapi.CertificateSpec{}
	plain := NewSchedule(spec, "", now, now.Add(90*day))
	if !plain.At.Equal(now.Add(60*day)) || !plain.Start.Equal(plain.At) || plain.NoWindow {
		t.Errorf("without an identity: %+v", plain)
	}
	starts := map[time.Time]bool{}
	for _, id := range []string{"a", "b", "c", "d"} {
		s := NewSchedule(spec, id, now, now.Add(90*day))
		if !s.At.Equal(plain.At) || s.Start.Before(s.At) || s.Start.Sub(s.At) >= time.Hour || s != NewSchedule(spec, id, now, now.Add(90*day)) {
			t.Errorf("identity %s: %+v", id, s)
		}
		starts[s.Start] = true
		if short := NewSchedule(spec, id, now, now.Add(3*time.Hour)); short.Start.Sub(short.At) >= 72*time.Second {
			t.Errorf("more than 1 %% of 2 h: %+v", short)
		}
	}
	if len(starts) < 3 {
		t.Errorf("four Certificates start at %d times", len(starts))
	}
	spec.Renewal = &cmapi.CertificateRenewal{Policy: "RenewBefore", Windows: []cmapi.CertificateRenewalWindows{window("0 2 * * *", "", time.Minute)}}
	for _, id := range []string{"a", "b", "c", "d"} {
		if s := NewSchedule(spec, id, now, now.Add(90*day)); s.At.Hour() != 2 || s.Start.Sub(s.At) >= time.Minute || s.NoWindow {
			t.Errorf("spread beyond its window: %+v", s)
		}
	}
	spec.Renewal.Windows[0].Cron = "0 2 30 2 *"
	if s := NewSchedule(spec, "a", now, now.Add(90*day)); !s.NoWindow || !s.At.Equal(plain.At) {
		t.Errorf("no window opens: %+v", s)
	}
	spec.Renewal = &cmapi.CertificateRenewal{Policy: "Disabled"}
	if s := NewSchedule(spec, "a", now, now.Add(90*day)); s != (Schedule{}) {
		t.Errorf("renewal is off: %+v", s)
	}
}

func FuzzParseWindows(f *testing.F) {
	f.Add("0 2 * * *", "Europe/Berlin", int64(time.Hour))
	f.Add("*/15 0-6,22 1 JAN MON", "", int64(1))
	f.Add("@every 1s", "Local", int64(-1))
	f.Fuzz(func(t *testing.T, cron, zone string, length int64) {
		windows, err := ParseWindows([]cmapi.CertificateRenewalWindows{window(cron, zone, time.Duration(length))})
		if err != nil {
			return
		}
		at, err := InWindow(windows, now, now.AddDate(0, 0, -60), now.AddDate(0, 0, 30))
		if at.Before(now) || err == nil && at.After(now.AddDate(0, 0, 30).Add(time.Duration(length))) && time.Duration(length) > 0 && time.Duration(length) < 1<<50 {
			t.Fatalf("%q: %s, %v", cron, at, err)
		}
	})
}
