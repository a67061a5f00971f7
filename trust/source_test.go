package trust

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

func TestTake(t *testing.T) {
	ref := sourceRef{Kind: "Secret", Name: "s"}
	obj := &payload{Values: map[string][]byte{"b": []byte("2"), "a": []byte("1")}}
	for _, tc := range []struct {
		reason  string
		obj     *payload
		picks   []pick
		want    []string
		refused string
	}{
		{reason: "a key", obj: obj, picks: []pick{{Key: "a", Named: true}}, want: []string{"1"}},
		{reason: "all keys, in order", obj: obj, picks: []pick{{All: true}}, want: []string{"1", "2"}},
		{reason: "a key asked for twice is taken once", obj: obj, picks: []pick{{Key: "a"}, {All: true}}, want: []string{"1", "2"}},
		{reason: "a missing key", obj: obj, picks: []pick{{Key: "c", Named: true}}, refused: reasonSourceNotFound},
		{reason: "a missing key of a selected object", obj: obj, picks: []pick{{Key: "c"}}, refused: reasonSourceNotFound},
		{reason: "a missing object", picks: []pick{{Key: "a", Named: true}}, refused: reasonSourceNotFound},
		{reason: "a selected object that has gone meanwhile", picks: []pick{{Key: "a"}}},
		{reason: "all keys of a TLS Secret include its private key", obj: &payload{TLS: true, Values: obj.Values}, picks: []pick{{All: true}}, refused: reasonSourceBuildError},
		{reason: "one key of a TLS Secret", obj: &payload{TLS: true, Values: obj.Values}, picks: []pick{{Key: "a"}}, want: []string{"1"}},
	} {
		inputs, refusal := take(ref, "trust", tc.obj, tc.picks)
		var got []string
		for _, in := range inputs {
			got = append(got, string(in.PEM))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || reasonOf(refusal) != tc.refused {
			t.Errorf("%s: refused %v, want %q; inputs (-want +got):\n%s", tc.reason, refusal, tc.refused, diff)
		}
	}
}

func TestUses(t *testing.T) {
	b := &trustapi.Bundle{Spec: trustapi.BundleSpec{Sources: []trustapi.BundleSource{
		{InLine: "x"},
		{ConfigMap: &trustapi.SourceObjectKeySelector{Name: "named", Key: "k"}},
		{Secret: &trustapi.SourceObjectKeySelector{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"ca": "yes"}}, Key: "k"}},
	}}}
	for _, tc := range []struct {
		reason string
		ref    sourceRef
		labels labels.Set
		want   bool
	}{
		{reason: "named", ref: sourceRef{"ConfigMap", "named"}, want: true},
		{reason: "a Secret of that name", ref: sourceRef{"Secret", "named"}},
		{reason: "another name", ref: sourceRef{"ConfigMap", "other"}},
		{reason: "selected", ref: sourceRef{"Secret", "other"}, labels: labels.Set{"ca": "yes"}, want: true},
		{reason: "a ConfigMap with those labels", ref: sourceRef{"ConfigMap", "other"}, labels: labels.Set{"ca": "yes"}},
		{reason: "other labels", ref: sourceRef{"Secret", "other"}, labels: labels.Set{"ca": "no"}},
	} {
		if got := uses(b, tc.ref, tc.labels); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.reason, got, tc.want)
		}
	}
}
