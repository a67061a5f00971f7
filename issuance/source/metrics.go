package source

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	metricWrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "trustglass_source_certificates_total",
		Help: "Certificates written for a source, by its kind and what was done: CreateCertificate, UpdateCertificate, DeleteCertificate.",
	}, []string{"kind", "reason"})
	metricRefused = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trustglass_source_problems",
		Help: "Sources of which something can't be followed or was refused, by kind. Events on them tell what.",
	}, []string{"kind"})
)

// RegisterMetrics registers this package's collectors.
func RegisterMetrics(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{metricWrites, metricRefused} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering the metrics of sources: %w", err)
		}
	}
	return nil
}
