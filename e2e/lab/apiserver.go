package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// writeCounts are the API server's own counts of the writes that it answered, Leases, Events and reviews apart.
type writeCounts struct {
	total, conflicts float64
	byKey            map[string]float64 // "VERB resource/subresource"
}

// minus returns what has come since before.
func (w writeCounts) minus(before writeCounts) writeCounts {
	out := writeCounts{total: w.total - before.total, conflicts: w.conflicts - before.conflicts, byKey: map[string]float64{}}
	for k, v := range w.byKey {
		if d := v - before.byKey[k]; d != 0 {
			out.byKey[k] = d
		}
	}
	return out
}

// series reads one metric of the API server and calls each for every series.
func (l *lab) series(ctx context.Context, name string, each func(labels map[string]string, m *dto.Metric)) error {
	c, err := kubernetes.NewForConfig(l.plane.Admin)
	if err != nil {
		return fmt.Errorf("building a client: %w", err)
	}
	raw, err := c.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("reading the API server's metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("parsing the API server's metrics: %w", err)
	}
	for _, m := range families[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		each(labels, m)
	}
	return nil
}

// ownersWatched waits until the garbage collector knows the kinds that own things here. Until it does, half a minute after the
// kinds were installed, it asks the API server for the owner of every object that it sees.
func (l *lab) ownersWatched(ctx context.Context) error {
	missing := map[string]bool{"certificates": true, "bundles": true}
	return eventually(ctx, 2*time.Minute, func() error {
		err := l.series(ctx, "apiserver_longrunning_requests", func(labels map[string]string, m *dto.Metric) {
			if labels["verb"] == "WATCH" && m.GetGauge().GetValue() > 0 {
				delete(missing, labels["resource"])
			}
		})
		if err != nil || len(missing) == 0 {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		return fmt.Errorf("the garbage collector does not watch %v", slices.Collect(maps.Keys(missing)))
	})
}

// writes reads apiserver_request_total.
func (l *lab) writes(ctx context.Context) (writeCounts, error) {
	out := writeCounts{byKey: map[string]float64{}}
	err := l.series(ctx, "apiserver_request_total", func(labels map[string]string, m *dto.Metric) {
		switch labels["verb"] {
		case "POST", "PUT", "PATCH", "APPLY", "DELETE":
		default:
			return
		}
		if r := labels["resource"]; r == "leases" || r == "events" || r == "" || strings.HasSuffix(r, "reviews") || labels["subresource"] == "token" {
			return
		}
		key := labels["verb"] + " " + labels["resource"]
		if labels["subresource"] != "" {
			key += "/" + labels["subresource"]
		}
		n := m.GetCounter().GetValue()
		out.total += n
		out.byKey[key] += n
		if labels["code"] == "409" {
			out.conflicts += n
		}
	})
	return out, err
}
