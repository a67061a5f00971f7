package trust

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	certificates = gauge("certificates", "Certificates a Bundle publishes.", "bundle")
	skipped      = gauge("certificates_skipped", "Certificates of a Bundle's sources that are left out: expired, no CA, or unreadable everywhere.", "bundle")
	expiry       = gauge("earliest_expiry_timestamp_seconds", "When the first certificate of a Bundle expires, in Unix time.", "bundle")
	targets      = gauge("targets", "Targets of a Bundle by state: synced, conflict (the ConfigMap is someone else's), contested (someone else keeps changing it) or failed.", "bundle", "state")
	synced       = gauge("synced", "1 if a Bundle is published as its sources are, 0 if not.", "bundle")
	writes       = counter("target_writes_total", "Targets written, by operation: apply or clean.", "operation")
	failures     = counter("target_failures_total", "Writes of targets that failed, refused ones included.")
	drifts       = counter("target_drift_total", "Targets put back after another client had changed them.")
)

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "trustglass", Subsystem: "bundle", Name: name, Help: help}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "trustglass", Subsystem: "bundle", Name: name, Help: help}, labels)
}

// RegisterMetrics adds this package's collectors to reg. Label values are Bundle names, which only admins make, and fixed
// words.
func RegisterMetrics(reg prometheus.Registerer) error {
	var errs []error
	for _, c := range []prometheus.Collector{certificates, skipped, expiry, targets, synced, writes, failures, drifts} {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

func observeMetrics(o observed, out outcome) {
	name, count := o.Bundle.Name, o.memo.places.count()
	writes.WithLabelValues("apply").Add(float64(out.Applied))
	writes.WithLabelValues("clean").Add(float64(out.Cleaned))
	failures.WithLabelValues().Add(float64(len(out.Failed)))
	drifts.WithLabelValues().Add(float64(len(out.Drift)))
	ok := 0.0
	if o.Refusal == nil && count[stateFailed]+count[stateConflict]+count[stateContested]+len(out.Stale) == 0 {
		ok = 1
	}
	synced.WithLabelValues(name).Set(ok)
	if o.Refusal != nil {
		return // the rest is as it was: targets keep the last good content
	}
	for state, n := range count {
		targets.WithLabelValues(name, string(state)).Set(float64(n))
	}
	certificates.WithLabelValues(name).Set(float64(len(o.Pool.Certificates)))
	skipped.WithLabelValues(name).Set(float64(len(o.Pool.Skipped)))
	expiry.DeleteLabelValues(name)
	if certs := o.Pool.Certificates; len(certs) > 0 {
		first := slices.MinFunc(certs, func(a, b Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		expiry.WithLabelValues(name).Set(float64(first.NotAfter.Unix()))
	}
}

func forgetMetrics(bundle string) {
	for _, g := range []*prometheus.GaugeVec{certificates, skipped, expiry, targets, synced} {
		g.DeletePartialMatch(prometheus.Labels{"bundle": bundle})
	}
}
