package webhook

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	reviews = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "trustglass", Subsystem: "webhook", Name: "requests_total",
		Help: "Admission requests by path and result: allowed, denied, malformed or failed.",
	}, []string{"path", "result"})
	latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "trustglass", Subsystem: "webhook", Name: "request_duration_seconds",
		Help: "Time to answer an admission request, by path.", Buckets: []float64{.0005, .001, .0025, .005, .01, .05, .25, 1, 5},
	}, []string{"path"})
	expiration = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "trustglass", Subsystem: "webhook", Name: "certificate_expiration_timestamp_seconds",
		Help: "When the webhook's certificates expire, in Unix time: ca and serving.",
	}, []string{"certificate"})
)

// RegisterMetrics adds this package's collectors to reg. Label values are fixed words.
func RegisterMetrics(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(reviews), reg.Register(latency), reg.Register(expiration))
}

func report(s *serving, ca *authority) {
	if ca.current != nil { // else it could not be replaced
		expiration.WithLabelValues("ca").Set(float64(ca.current.Certs[0].NotAfter.Unix()))
	}
	expiration.WithLabelValues("serving").Set(float64(s.leaf.Leaf.NotAfter.Unix()))
}

func count(path, result string, began time.Time) {
	reviews.WithLabelValues(path, result).Inc()
	latency.WithLabelValues(path).Observe(time.Since(began).Seconds())
}
