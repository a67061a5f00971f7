package inject

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := RegisterMetrics(reg); err != nil {
		t.Fatal(err)
	}
	targets.Reset()
	r := &Reconciler{Kind: kindOf(t, "APIService")}
	for _, name := range []string{"a", "b", "c"} {
		r.count(r.memo(name), stateInjected)
	}
	r.count(r.memo("b"), stateRefused)
	r.count(r.memo("b"), stateRefused)
	r.forget("c")
	r.forget("c")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			if m.GetGauge() != nil {
				got[key] = m.GetGauge().GetValue()
			}
		}
	}
	want := map[string]float64{
		"trustglass_inject_targets kind=APIService state=injected": 1,
		"trustglass_inject_targets kind=APIService state=refused":  1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gauges (-want +got):\n%s", diff)
	}
	targets.Reset()
}
