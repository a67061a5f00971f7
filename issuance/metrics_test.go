package issuance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

func TestMetrics(t *testing.T) {
	w := goodOrder(t)
	w.Cert.Status = statusFor(w.State, Keep{})
	ready := cmapi.IssuerStatus{Conditions: []cmapi.IssuerCondition{{Type: "Ready", Status: cmmeta.ConditionTrue}}}
	odd := cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "new"}}
	odd.Spec.IssuerRef.Name = "a \\ \"b\"\nc"
	metered := Metered{
		Certificates:   []*cmapi.Certificate{w.Cert, &odd},
		Issuers:        []*cmapi.Issuer{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ca"}, Status: ready}},
		ClusterIssuers: []*cmapi.ClusterIssuer{{ObjectMeta: metav1.ObjectMeta{Name: "new"}}},
	}
	reg := prometheus.NewPedanticRegistry()
	if err := RegisterMetrics(reg); err != nil {
		t.Fatal(err)
	}
	if err := RegisterMetrics(reg); err == nil {
		t.Error("the metrics can be registered twice")
	}
	families := must(reg.Gather())
	var text bytes.Buffer
	if err := WriteMetrics(&text, metered); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	for _, f := range must(parser.TextToMetricFamilies(&text)) {
		if f.GetHelp() == "" || f.GetType() != dto.MetricType_GAUGE {
			t.Errorf("%s is a %s, help %q", f.GetName(), f.GetType(), f.GetHelp())
		}
		families = append(families, f)
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
			slices.Sort(labels)
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
		"certificate_ready_status{condition=True,issuer_name=ca,name=web}":               1,
		"certificate_ready_status{condition=Unknown,issuer_name=a \\ \"b\"\nc,name=new}": 1,
		"certificate_expiration_timestamp_seconds{issuer_name=ca,name=web}":              float64(start.Add(90 * day).Unix()),
		"certificate_not_after_timestamp_seconds{issuer_name=ca,name=web}":               float64(start.Add(90 * day).Unix()),
		"certificate_not_before_timestamp_seconds{issuer_name=ca,name=web}":              float64(start.Unix()),
		"certificate_renewal_timestamp_seconds{issuer_name=ca,name=web}":                 float64(start.Add(60 * day).Unix()),
		"issuer_ready_status{condition=True,name=ca}":                                    1,
		"clusterissuer_ready_status{condition=Unknown,name=new}":                         1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
