package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// writeCounts are the API server's own counts of the writes that it answered, Leases and Events apart.
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

// writes reads apiserver_request_total.
func (l *lab) writes(ctx context.Context) (writeCounts, error) {
	c, err := kubernetes.NewForConfig(l.plane.Admin)
	if err != nil {
		return writeCounts{}, fmt.Errorf("building a client: %w", err)
	}
	raw, err := c.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return writeCounts{}, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		return writeCounts{}, fmt.Errorf("parsing the API server's metrics: %w", err)
	}
	out := writeCounts{byKey: map[string]float64{}}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		switch labels["verb"] {
		case "POST", "PUT", "PATCH", "APPLY", "DELETE":
		default:
			continue
		}
		if r := labels["resource"]; r == "leases" || r == "events" || r == "" || labels["subresource"] == "token" {
			continue
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
	}
	return out, nil
}
