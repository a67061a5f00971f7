package reflector

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// state is where a target stands. A target is a mirror, or a namespace that is to have one.
type state int

const (
	synced state = iota
	conflict
	denied
	failed
	states
)

func (s state) String() string { return [...]string{"synced", "conflict", "denied", "failed"}[s] }

// counts are a source's targets by state.
type counts [states]int

func (c counts) total() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

var (
	metricTargets = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trustglass_reflector_targets",
		Help: "Mirrors and namespaces that are to have one, by kind and state: synced, conflict (a stranger's object is in the way), denied (not permitted, or without the namespace's consent), failed (the API refused the write).",
	}, []string{"kind", "state"})
	metricWrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "trustglass_reflector_writes_total",
		Help: "Writes sent for mirrors, by kind, action (create, update, delete) and result (ok, conflict, error).",
	}, []string{"kind", "action", "result"})
	metricLag = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "trustglass_reflector_lag_seconds",
		Help:    "Time from seeing a change of a source to having written its last mirror.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"kind"})
)

// RegisterMetrics registers this package's collectors.
func RegisterMetrics(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{metricTargets, metricWrites, metricLag} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering the reflector's metrics: %w", err)
		}
	}
	return nil
}

func countTargets(kind string, change counts) {
	for s, n := range change {
		if n != 0 {
			metricTargets.WithLabelValues(kind, state(s).String()).Add(float64(n))
		}
	}
}

func countWrite(kind, action string, err error) {
	result := "ok"
	switch {
	case err != nil && lostRace(err):
		result = "conflict"
	case err != nil:
		result = "error"
	}
	metricWrites.WithLabelValues(kind, action, result).Inc()
}
