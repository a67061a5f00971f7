package trust

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

func TestConditionOf(t *testing.T) {
	bundle := &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 3}}
	failed := func(n int) (list []failure) {
		for i := 1; i <= n; i++ {
			list = append(list, failure{Namespace: fmt.Sprintf("n%d", i), Err: fmt.Errorf("applying: %w", errors.New("quota"))})
		}
		return list
	}
	for _, tc := range []struct {
		reason   string
		selector string
		refusal  *Refusal
		wrong    problems
		want     string // status, reason, message
	}{
		{reason: "all namespaces", want: "True Synced Successfully synced Bundle to all namespaces"},
		{reason: "some namespaces", selector: "a=b", want: "True Synced Successfully synced Bundle to namespaces that match this label selector: a=b"},
		{reason: "no source", refusal: &Refusal{reasonSourceNotFound, "gone"}, want: "False SourceNotFound Bundle source was not found: gone"},
		{reason: "a bad source", refusal: &Refusal{reasonSourceBuildError, "bad"}, want: "False SourceBuildError Failed to build bundle sources: bad"},
		{reason: "a failed target, in the API's words", wrong: problems{Failed: failed(1)},
			want: `False SyncConfigMapTargetFailed Failed to sync bundle to 1 namespaces (all others are synced): "n1": quota`},
		{reason: "many failed targets: three by name, in order", wrong: problems{Failed: failed(5)},
			want: `False SyncConfigMapTargetFailed Failed to sync bundle to 5 namespaces (all others are synced): "n1": quota; "n2": quota; "n3": quota and 2 more`},
		{reason: "a conflict says what to do", wrong: problems{Conflicts: []string{"n"}},
			want: `False SyncConfigMapTargetFailed ConfigMap "b" belongs to someone else and was left alone in 1 namespaces ("n"): delete it there, or let the Bundle add its key with the label trust.cert-manager.io/bundle=b`},
		{reason: "a contest names the other client", wrong: problems{Contested: []string{"n"}, Writers: []string{"kubectl"}},
			want: `False SyncConfigMapTargetFailed ConfigMap "b" does not stay as it is written in 1 namespaces ("n"): "kubectl" keeps changing it; stop that there. Until then it is put back at intervals that grow to 5m0s`},
		{reason: "a contest with many", wrong: problems{Contested: []string{"m", "n"}, Writers: []string{"a", "b", "c", "d"}},
			want: `False SyncConfigMapTargetFailed ConfigMap "b" does not stay as it is written in 2 namespaces ("m", "n"): "a", "b", "c" and 1 more keeps changing it; stop that there. Until then it is put back at intervals that grow to 5m0s`},
		{reason: "a contest with nobody knows whom", wrong: problems{Contested: []string{"n"}},
			want: `False SyncConfigMapTargetFailed ConfigMap "b" does not stay as it is written in 1 namespaces ("n"): another client keeps changing or deleting it; find out which and stop it there. Until then it is put back at intervals that grow to 5m0s`},
		{reason: "all at once", wrong: problems{Failed: failed(1), Conflicts: []string{"n2"}, Contested: []string{"n3"}, Writers: []string{"kubectl"}},
			want: `False SyncConfigMapTargetFailed Failed to sync bundle to 1 namespaces (all others are synced): "n1": quota. ` +
				`ConfigMap "b" belongs to someone else and was left alone in 1 namespaces ("n2"): delete it there, or let the Bundle add its key with the label trust.cert-manager.io/bundle=b. ` +
				`ConfigMap "b" does not stay as it is written in 1 namespaces ("n3"): "kubectl" keeps changing it; stop that there. Until then it is put back at intervals that grow to 5m0s`},
	} {
		selector, err := labels.Parse(tc.selector)
		if err != nil {
			t.Fatal(err)
		}
		c := conditionOf(observed{Bundle: bundle, Refusal: tc.refusal, Selector: selector, Now: start}, tc.wrong)
		if diff := cmp.Diff(tc.want, fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if c.Type != "Synced" || c.ObservedGeneration != 3 {
			t.Errorf("%s: type %s, observedGeneration %d", tc.reason, c.Type, c.ObservedGeneration)
		}
	}
}

func TestDifference(t *testing.T) {
	cert := func(names string) (list []Certificate) {
		for _, n := range strings.Fields(names) {
			list = append(list, Certificate{Subject: "CN=" + n, Fingerprint: strings.Repeat(n, 20)})
		}
		return list
	}
	for _, tc := range []struct{ before, after, want string }{
		{"a b", "a b", ""},
		{"a", "a b", "Added CN=b (sha256 bbbbbbbbbbbbbbbb)"},
		{"a b", "a", "Removed CN=b (sha256 bbbbbbbbbbbbbbbb)"},
		{"a", "b", "Added CN=b (sha256 bbbbbbbbbbbbbbbb). Removed CN=a (sha256 aaaaaaaaaaaaaaaa)"},
		{"", "a b c d e", "Added CN=a (sha256 aaaaaaaaaaaaaaaa), CN=b (sha256 bbbbbbbbbbbbbbbb), CN=c (sha256 cccccccccccccccc) and 2 more"},
	} {
		if got := difference(cert(tc.before), cert(tc.after)); got != tc.want {
			t.Errorf("from %q to %q: %q, want %q", tc.before, tc.after, got, tc.want)
		}
	}
}
