package main

import (
	"net/http"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// scrapes knows whether /metrics is being read. Series of each Certificate are collected then only: the watchdog gathers from the same
// registry at every probe, and wants a few of the work queues.
type scrapes struct{ underWay atomic.Int32 }

// filter notes that the metrics are being read. It is a server.Options.FilterProvider.
func (s *scrapes) filter(*rest.Config, *http.Client) (server.Filter, error) {
	return func(_ logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.underWay.Add(1)
			defer s.underWay.Add(-1)
			next.ServeHTTP(w, r)
		}), nil
	}, nil
}

// during returns a registerer whose collectors have nothing to say while nobody reads the metrics.
func (s *scrapes) during(reg prometheus.Registerer) prometheus.Registerer {
	return duringScrapes{reg, s}
}

type duringScrapes struct {
	prometheus.Registerer
	scrapes *scrapes
}

// Register implements prometheus.Registerer.
func (d duringScrapes) Register(c prometheus.Collector) error {
	return d.Registerer.Register(onDemand{c, d.scrapes})
}

type onDemand struct {
	prometheus.Collector
	scrapes *scrapes
}

// Collect implements prometheus.Collector.
func (c onDemand) Collect(ch chan<- prometheus.Metric) {
	if c.scrapes.underWay.Load() > 0 {
		c.Collector.Collect(ch)
	}
}
