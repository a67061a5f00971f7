package trust

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

func TestCheck(t *testing.T) {
	type source = trustapi.BundleSource
	type ref = trustapi.SourceObjectKeySelector
	badSelector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Nearly"}}}
	inLine := source{InLine: "x"}
	configMap := func(r ref) source { return source{ConfigMap: &r} }
	target := func(change func(*trustapi.BundleTarget)) trustapi.BundleTarget {
		t := trustapi.BundleTarget{ConfigMap: &trustapi.TargetTemplate{Key: "ca.crt"}}
		change(&t)
		return t
	}

	for _, tc := range []struct {
		reason  string
		sources []source
		target  trustapi.BundleTarget
		want    string // reason; "" is valid
		says    string
	}{
		{reason: "plain", sources: []source{inLine}, target: target(func(*trustapi.BundleTarget) {})},
		{reason: "no target is legal", sources: []source{inLine}},
		{reason: "no sources", want: reasonSourceBuildError, says: "at least one source"},
		{reason: "useDefaultCAs: false is no source", sources: []source{{UseDefaultCAs: ptr.To(false)}}, want: reasonSourceBuildError, says: "at least one source"},
		{reason: "useDefaultCAs: false beside a source", sources: []source{inLine, {UseDefaultCAs: ptr.To(false)}}},
		{reason: "useDefaultCAs twice", sources: []source{inLine, {UseDefaultCAs: ptr.To(false)}, {UseDefaultCAs: ptr.To(false)}}, want: reasonSourceBuildError, says: "once"},
		{reason: "default CAs are not served", sources: []source{{UseDefaultCAs: ptr.To(true)}}, want: reasonSourceBuildError, says: "ConfigMap of the trust namespace"},
		{reason: "two kinds in one source", sources: []source{{InLine: "x", ConfigMap: &ref{Name: "a", Key: "b"}}}, want: reasonSourceBuildError, says: "exactly one of"},
		{reason: "a source of no kind", sources: []source{{}}, want: reasonSourceBuildError, says: "exactly one of"},
		{reason: "by name and key", sources: []source{configMap(ref{Name: "a", Key: "b"})}},
		{reason: "by selector and all keys", sources: []source{configMap(ref{Selector: &metav1.LabelSelector{}, IncludeAllKeys: ptr.To(true)})}},
		{reason: "name and selector", sources: []source{configMap(ref{Name: "a", Selector: &metav1.LabelSelector{}, Key: "b"})}, want: reasonSourceBuildError, says: "name, selector"},
		{reason: "neither name nor selector", sources: []source{configMap(ref{Key: "b"})}, want: reasonSourceBuildError, says: "name, selector"},
		{reason: "key and all keys", sources: []source{configMap(ref{Name: "a", Key: "b", IncludeAllKeys: ptr.To(true)})}, want: reasonSourceBuildError, says: "key, includeAllKeys"},
		{reason: "neither key nor all keys", sources: []source{configMap(ref{Name: "a", IncludeAllKeys: ptr.To(false)})}, want: reasonSourceBuildError, says: "key, includeAllKeys"},
		{reason: "a selector that is not valid", sources: []source{configMap(ref{Selector: badSelector, Key: "b"})}, want: reasonSourceBuildError, says: "Nearly"},
		{reason: "its own target as source", sources: []source{configMap(ref{Name: "me", Key: "ca.crt"})}, target: target(func(*trustapi.BundleTarget) {}), want: reasonSourceBuildError, says: "own target"},
		{reason: "all keys of its own target", sources: []source{configMap(ref{Name: "me", IncludeAllKeys: ptr.To(true)})}, target: target(func(*trustapi.BundleTarget) {}), want: reasonSourceBuildError, says: "own target"},
		{reason: "another key of its own target", sources: []source{configMap(ref{Name: "me", Key: "x"})}, target: target(func(*trustapi.BundleTarget) {})},
		{reason: "a Secret of the target's name is another object", sources: []source{{Secret: &ref{Name: "me", Key: "ca.crt"}}}, target: target(func(*trustapi.BundleTarget) {})},
		{reason: "too many sources", sources: make([]source, 101), want: reasonSourceBuildError},
		{reason: "a target of no kind", sources: []source{inLine}, target: trustapi.BundleTarget{NamespaceSelector: &metav1.LabelSelector{}}, want: reasonTargetFailed, says: "configMap or secret"},
		{reason: "no target key", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) { t.ConfigMap.Key = "" }), want: reasonTargetFailed},
		{reason: "a key that no ConfigMap takes", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) { t.ConfigMap.Key = "a/b" }), want: reasonTargetFailed},
		{reason: "a namespace selector that is not valid", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) { t.NamespaceSelector = badSelector }), want: reasonNamespaceSelectorError},
		{reason: "reserved label", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) {
			t.ConfigMap.Metadata.Labels = map[string]string{"trust.cert-manager.io/bundle": "x"}
		}), want: reasonTargetFailed, says: "reserved"},
		{reason: "reserved annotation", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) {
			t.ConfigMap.Metadata.Annotations = map[string]string{"trust-manager.io/hash": "x"}
		}), want: reasonTargetFailed, says: "reserved"},
		{reason: "a label that is not valid", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) {
			t.ConfigMap.Metadata.Labels = map[string]string{"a": "b c"}
		}), want: reasonTargetFailed},
		{reason: "Secret targets", sources: []source{inLine}, target: trustapi.BundleTarget{Secret: &trustapi.TargetTemplate{Key: "ca.crt"}}, want: reasonSecretTargetsDisabled, says: "use spec.target.configMap"},
		{reason: "a key used twice", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) {
			t.AdditionalFormats = &trustapi.AdditionalFormats{JKS: &trustapi.JKS{KeySelector: trustapi.KeySelector{Key: "ca.crt"}}}
		}), want: reasonTargetFailed, says: "Duplicate"},
		{reason: "additional formats are not served", sources: []source{inLine}, target: target(func(t *trustapi.BundleTarget) {
			t.AdditionalFormats = &trustapi.AdditionalFormats{PKCS12: &trustapi.PKCS12{KeySelector: trustapi.KeySelector{Key: "ca.p12"}}}
		}), want: reasonTargetFailed, says: "remove the field"},
	} {
		b := &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: "me"}, Spec: trustapi.BundleSpec{Sources: tc.sources, Target: tc.target}}
		got := check(b)
		if reasonOf(got) != tc.want {
			t.Errorf("%s: %v, want reason %q", tc.reason, got, tc.want)
		} else if got != nil && !strings.Contains(got.Message, tc.says) {
			t.Errorf("%s: %q does not say %q", tc.reason, got.Message, tc.says)
		}
	}
}

func TestSelectorOf(t *testing.T) {
	for _, tc := range []struct {
		reason   string
		selector *metav1.LabelSelector
		want     bool
	}{
		{reason: "none means all", want: true},
		{reason: "an empty one means all", selector: &metav1.LabelSelector{}, want: true},
		{reason: "labels", selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "1"}}, want: true},
		{reason: "other labels", selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "2"}}},
		{reason: "expressions", selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "b", Operator: metav1.LabelSelectorOpDoesNotExist}}}, want: true},
	} {
		s, err := selectorOf(trustapi.BundleTarget{NamespaceSelector: tc.selector})
		if err != nil || s.Matches(labels.Set{"a": "1"}) != tc.want {
			t.Errorf("%s: %v %v, want a match: %t", tc.reason, s, err, tc.want)
		}
	}
}

func FuzzSelector(f *testing.F) {
	f.Add("app", "In", "a", "x")
	f.Add("", "Exists", "", "")
	f.Add("k/k/k", "NotIn", "\xff", "y")
	f.Fuzz(func(t *testing.T, key, operator, value, label string) {
		sel := &metav1.LabelSelector{
			MatchLabels:      map[string]string{key: label},
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOperator(operator), Values: []string{value}}},
		}
		b := &trustapi.Bundle{Spec: trustapi.BundleSpec{
			Sources: []trustapi.BundleSource{{Secret: &trustapi.SourceObjectKeySelector{Selector: sel, Key: "k"}}},
			Target:  trustapi.BundleTarget{ConfigMap: &trustapi.TargetTemplate{Key: "k"}, NamespaceSelector: sel},
		}}
		_, invalid := metav1.LabelSelectorAsSelector(sel)
		if got := check(b); (got != nil) != (invalid != nil) {
			t.Errorf("check says %v, the selector %v", got, invalid)
		}
		uses(b, sourceRef{Kind: "Secret", Name: "s"}, labels.Set{key: label})
	})
}
