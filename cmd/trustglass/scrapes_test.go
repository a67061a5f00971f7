package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

func TestScrapes(t *testing.T) {
	var s scrapes
	registry := prometheus.NewRegistry()
	if err := s.during(registry).Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "costly"})); err != nil {
		t.Fatal(err)
	}
	series := func() int { return len(must(registry.Gather())) }
	if n := series(); n != 0 {
		t.Errorf("%d series while nobody reads them", n)
	}
	read := 0
	handler := must(must(s.filter(nil, nil))(logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { read = series() })))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if read != 1 {
		t.Errorf("%d series while they are read, want 1", read)
	}
	if n := series(); n != 0 {
		t.Errorf("%d series afterwards", n)
	}
}
