package main

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape asks for metrics as Prometheus does.
func scrape(t *testing.T, s *scrapes, registry http.Handler, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	must(must(s.filter(nil, nil))(logr.Discard(), registry)).ServeHTTP(w, r)
	return w
}

func TestScrapes(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "kept"}))
	s := &scrapes{more: func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "# TYPE written gauge\nwritten{name=\"web\"} 7\n")
		return err
	}}
	for _, tc := range []struct {
		encoding string
		gzip     bool
	}{{"", false}, {"gzip", true}, {"deflate, gzip;q=0.5", true}, {"gzip;q=0", false}, {"gzip;q=0.0, br", false}, {"zstd", false}} {
		w := scrape(t, s, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}), tc.encoding)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != tc.gzip {
			t.Errorf("asked for %q: gzip %t", tc.encoding, got)
			continue
		}
		body := io.Reader(w.Body)
		if tc.gzip {
			body = must(gzip.NewReader(body))
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(body)
		if err != nil {
			t.Errorf("asked for %q: %v", tc.encoding, err)
			continue
		}
		if families["kept"] == nil || families["written"].GetMetric()[0].GetGauge().GetValue() != 7 {
			t.Errorf("asked for %q: %v", tc.encoding, families)
		}
		if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
			t.Errorf("asked for %q: Content-Type %q", tc.encoding, kind)
		}
	}
}

// A registry that fails has its answer to itself, and a daemon that issues nothing has nothing to add.
func TestScrapesWithNothingToAdd(t *testing.T) {
	failing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	s := &scrapes{more: func(context.Context, io.Writer) error {
		t.Error("something was added")
		return errors.New("unread")
	}}
	for _, encoding := range []string{"", "gzip"} {
		if w := scrape(t, s, failing, encoding); w.Code != http.StatusInternalServerError || w.Body.String() != "no\n" || w.Header().Get("Content-Encoding") != "" {
			t.Errorf("answer: %d %q %v", w.Code, w.Body, w.Header())
		}
	}
	if w := scrape(t, &scrapes{}, promhttp.Handler(), ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("answer: %d %q", w.Code, w.Body)
	}
}
