package issuance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Syncs by controller, under cert-manager's names. Its controllers are more and smaller than ours.
var (
	syncCalls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "certmanager_controller_sync_call_count", Help: "Reconciles of a controller.",
	}, []string{"controller"})
	syncErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "certmanager_controller_sync_error_count", Help: "Reconciles of a controller that failed.",
	}, []string{"controller"})
	firstReconcile = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trustglass_first_reconcile_timestamp_seconds",
		Help: "Unix time of a controller's first reconcile: less process_start_time_seconds, how long it took to get to work.",
	}, []string{"controller"})
	clockCounter = prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "certmanager_clock_time_seconds", Help: "The daemon's clock in seconds since the epoch.",
	}, clockSeconds)
	clockGauge = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "certmanager_clock_time_seconds_gauge", Help: "The daemon's clock in seconds since the epoch.",
	}, clockSeconds)
)

func clockSeconds() float64 { return float64(time.Now().Unix()) }

// counted counts a reconciler's calls and errors, and notes when the first one comes.
type counted struct {
	reconcile.Reconciler
	name  string
	begun atomic.Bool
}

func newCounted(r reconcile.Reconciler, name string) *counted {
	return &counted{Reconciler: r, name: name}
}

// Reconcile implements reconcile.Reconciler.
func (c *counted) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if !c.begun.Swap(true) {
		firstReconcile.WithLabelValues(c.name).Set(float64(time.Now().UnixMilli()) / 1000)
	}
	syncCalls.WithLabelValues(c.name).Inc()
	res, err := c.Reconciler.Reconcile(ctx, req)
	if err != nil {
		syncErrors.WithLabelValues(c.name).Inc()
	}
	return res, err
}

// RegisterMetrics registers the series of reconciles. Those of objects come from WriteMetrics.
func RegisterMetrics(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{syncCalls, syncErrors, firstReconcile, clockCounter, clockGauge} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering the metrics of certificates: %w", err)
		}
	}
	return nil
}
