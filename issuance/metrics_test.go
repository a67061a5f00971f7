package issuance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// listed is a cache with these objects.
type listed struct {
	client.Reader
	certificates   []cmapi.Certificate
	issuers        []cmapi.Issuer
	clusterIssuers []cmapi.ClusterIssuer
}

func (l listed) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *cmapi.CertificateList:
		list.Items = l.certificates
	case *cmapi.IssuerList:
		list.Items = l.issuers
	case *cmapi.ClusterIssuerList:
		list.Items = l.clusterIssuers
	}
	return nil
}

func TestMetrics(t *testing.T) {
	w := goodOrder(t)
	w.Cert.Status = statusFor(w.State, Keep{})
	ready := cmapi.IssuerStatus{Conditions: []cmapi.IssuerCondition{{Type: "Ready", Status: cmmeta.ConditionTrue}}}
	cache := listed{
		certificates:   []cmapi.Certificate{*w.Cert, {ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "new"}}},
		issuers:        []cmapi.Issuer{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ca"}, Status: ready}},
		clusterIssuers: []cmapi.ClusterIssuer{{ObjectMeta: metav1.ObjectMeta{Name: "new"}}},
	}
	reg := prometheus.NewPedanticRegistry()
	if err := RegisterMetrics(reg, cache); err != nil {
		t.Fatal(err)
	}
	if err := RegisterMetrics(reg, cache); err == nil {
		t.Error("the metrics can be registered twice")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetValue() != "" && l.GetName() != "namespace" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			if f.GetName() == "certmanager_clock_time_seconds_gauge" {
				if age := time.Since(time.Unix(int64(m.Gauge.GetValue()), 0)); age < 0 || age > time.Minute {
					t.Errorf("the clock is %s off", age)
				}
				continue
			}
			if f.GetName() == "trustglass_first_reconcile_timestamp_seconds" { // of controllers that other tests ran
				if age := time.Since(time.UnixMilli(int64(m.Gauge.GetValue() * 1000))); age < 0 || age > time.Hour {
					t.Errorf("the first reconcile was %s ago", age)
				}
				continue
			}
			if v := m.Gauge.GetValue(); v != 0 {
				got[fmt.Sprintf("%s{%s}", strings.TrimPrefix(f.GetName(), "certmanager_"), strings.Join(labels, ","))] = v
			}
		}
	}
	want := map[string]float64{ // those that are not zero
		"certificate_ready_status{condition=True,issuer_name=ca,name=web}":  1,
		"certificate_ready_status{condition=Unknown,name=new}":              1,
		"certificate_expiration_timestamp_seconds{issuer_name=ca,name=web}": float64(start.Add(90 * day).Unix()),
		"certificate_not_after_timestamp_seconds{issuer_name=ca,name=web}":  float64(start.Add(90 * day).Unix()),
		"certificate_not_before_timestamp_seconds{issuer_name=ca,name=web}": float64(start.Unix()),
		"certificate_renewal_timestamp_seconds{issuer_name=ca,name=web}":    float64(start.Add(60 * day).Unix()),
		"issuer_ready_status{condition=True,name=ca}":                       1,
		"clusterissuer_ready_status{condition=Unknown,name=new}":            1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
