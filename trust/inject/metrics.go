package inject

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// States of a target, as the metrics count them.
const (
	stateInjected = "injected"
	stateRefused  = "refused"
)

var (
	targets = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "trustglass", Subsystem: "inject", Name: "targets",
		Help: "Objects that ask for a CA, by kind and state: injected, or refused (their Events say why).",
	}, []string{"kind", "state"})
	writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "trustglass", Subsystem: "inject", Name: "writes_total", Help: "Objects that a CA was written into, by kind.",
	}, []string{"kind"})
	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "trustglass", Subsystem: "inject", Name: "failures_total", Help: "Writes of a CA that failed, by kind.",
	}, []string{"kind"})
)

// RegisterMetrics adds this package's collectors to reg. Label values are fixed words.
func RegisterMetrics(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(targets), reg.Register(writes), reg.Register(failures))
}

// count moves a target to a state; empty: it is gone.
func (r *Reconciler) count(m *memo, state string) {
	if m.state == state {
		return
	}
	if m.state != "" {
		targets.WithLabelValues(r.Kind.Kind, m.state).Dec()
	}
	if state != "" {
		targets.WithLabelValues(r.Kind.Kind, state).Inc()
	}
	m.state = state
}
