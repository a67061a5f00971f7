package issuance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The series that dashboards and alerts made for cert-manager look for.
var (
	certificateLabels = []string{"name", "namespace", "issuer_name", "issuer_kind", "issuer_group"}

	descReady = prometheus.NewDesc("certmanager_certificate_ready_status", "The ready status of the certificate.",
		[]string{"name", "namespace", "condition", "issuer_name", "issuer_kind", "issuer_group"}, nil)
	descExpiration = prometheus.NewDesc("certmanager_certificate_expiration_timestamp_seconds",
		"Unix time after which the certificate expires.", certificateLabels, nil)
	descNotAfter = prometheus.NewDesc("certmanager_certificate_not_after_timestamp_seconds",
		"Unix time after which the certificate is invalid.", certificateLabels, nil)
	descNotBefore = prometheus.NewDesc("certmanager_certificate_not_before_timestamp_seconds",
		"Unix time before which the certificate is invalid.", certificateLabels, nil)
	descRenewal = prometheus.NewDesc("certmanager_certificate_renewal_timestamp_seconds",
		"Unix time at which the certificate is to be renewed.", certificateLabels, nil)
	descIssuerReady = prometheus.NewDesc("certmanager_issuer_ready_status", "The ready status of the issuer.",
		[]string{"name", "namespace", "condition"}, nil)
	descClusterIssuerReady = prometheus.NewDesc("certmanager_clusterissuer_ready_status", "The ready status of the cluster issuer.",
		[]string{"name", "condition"}, nil)
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

// collector reads the series from the cache when it is scraped, so that none outlives its object.
type collector struct{ cache client.Reader }

// RegisterMetrics registers the series of Certificates and issuers.
func RegisterMetrics(reg prometheus.Registerer, cache client.Reader) error {
	for _, c := range []prometheus.Collector{collector{cache}, syncCalls, syncErrors, firstReconcile, clockCounter, clockGauge} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering the metrics of certificates: %w", err)
		}
	}
	return nil
}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReady, descExpiration, descNotAfter, descNotBefore, descRenewal, descIssuerReady, descClusterIssuerReady} {
		ch <- d
	}
}

// collectTime bounds how long a scrape waits for a cache that is not filled yet; then it does without its objects.
const collectTime = 5 * time.Second

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime) // the cache answers from memory, once it is filled
	defer cancel()
	var certificates cmapi.CertificateList
	if c.cache.List(ctx, &certificates, client.UnsafeDisableDeepCopy) == nil {
		for i := range certificates.Items {
			collectCertificate(ch, &certificates.Items[i])
		}
	}
	var issuers cmapi.IssuerList
	if c.cache.List(ctx, &issuers, client.UnsafeDisableDeepCopy) == nil {
		for i := range issuers.Items {
			collectReady(ch, descIssuerReady, issuerStatusOf(&issuers.Items[i].Status), issuers.Items[i].Name, issuers.Items[i].Namespace)
		}
	}
	var clusterIssuers cmapi.ClusterIssuerList
	if c.cache.List(ctx, &clusterIssuers, client.UnsafeDisableDeepCopy) == nil {
		for i := range clusterIssuers.Items {
			collectReady(ch, descClusterIssuerReady, issuerStatusOf(&clusterIssuers.Items[i].Status), clusterIssuers.Items[i].Name)
		}
	}
}

func issuerStatusOf(st *cmapi.IssuerStatus) cmmeta.ConditionStatus {
	if c := issuerCondition(st); c != nil {
		return c.Status
	}
	return cmmeta.ConditionUnknown
}

var conditionStates = []cmmeta.ConditionStatus{cmmeta.ConditionTrue, cmmeta.ConditionFalse, cmmeta.ConditionUnknown}

func collectCertificate(ch chan<- prometheus.Metric, cert *cmapi.Certificate) {
	ref := cert.Spec.IssuerRef
	labels := []string{cert.Name, cert.Namespace, ref.Name, ref.Kind, ref.Group}
	is := cmmeta.ConditionUnknown
	if c := condition(cert, cmapi.CertificateConditionReady); c != nil {
		is = c.Status
	}
	for _, state := range conditionStates {
		ch <- prometheus.MustNewConstMetric(descReady, prometheus.GaugeValue, oneIf(is == state),
			cert.Name, cert.Namespace, string(state), ref.Name, ref.Kind, ref.Group)
	}
	for desc, at := range map[*prometheus.Desc]*metav1.Time{
		descExpiration: cert.Status.NotAfter, descNotAfter: cert.Status.NotAfter,
		descNotBefore: cert.Status.NotBefore, descRenewal: cert.Status.RenewalTime,
	} {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, unix(at), labels...)
	}
}

func collectReady(ch chan<- prometheus.Metric, desc *prometheus.Desc, is cmmeta.ConditionStatus, labels ...string) {
	for _, state := range conditionStates {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, oneIf(is == state), append(labels[:len(labels):len(labels)], string(state))...)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix returns seconds since the epoch; 0 for no time, as cert-manager does.
func unix(t *metav1.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
