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
		for i := n; i > 0; i-- {
			list = append(list, failure{Namespace: fmt.Sprintf("n%d", i), Err: fmt.Errorf("applying: %w", errors.New("quota"))})
		}
		return list
	}
	for _, tc := range []struct {
		reason   string
		selector string
		refusal  *Refusal
		out      *outcome
		want     string // status, reason, message
	}{
		{reason: "all namespaces", want: "True Synced Successfully synced Bundle to all namespaces"},
		{reason: "some namespaces", selector: "a=b", want: "True Synced Successfully synced Bundle to namespaces that match this label selector: a=b"},
		{reason: "no source", refusal: &Refusal{reasonSourceNotFound, "gone"}, want: "False SourceNotFound Bundle source was not found: gone"},
		{reason: "a bad source", refusal: &Refusal{reasonSourceBuildError, "bad"}, want: "False SourceBuildError Failed to build bundle sources: bad"},
		{reason: "a failed target, in the API's words", out: &outcome{Failed: failed(1)},
			want: `False SyncConfigMapTargetFailed Failed to sync bundle to 1 namespaces (all others are synced): "n1": quota`},
		{reason: "many failed targets: three by name, in order", out: &outcome{Failed: failed(5)},
			want: `False SyncConfigMapTargetFailed Failed to sync bundle to 5 namespaces (all others are synced): "n1": quota; "n2": quota; "n3": quota and 2 more`},
		{reason: "a conflict says what to do", out: &outcome{Conflicts: []string{"n"}},
			want: `False SyncConfigMapTargetFailed ConfigMap "b" belongs to someone else and was left alone in 1 namespaces ("n"): delete it there, or let the Bundle add its key with the label trust.cert-manager.io/bundle=b`},
	} {
		selector, err := labels.Parse(tc.selector)
		if err != nil {
			t.Fatal(err)
		}
		if tc.out == nil {
			tc.out = &outcome{}
		}
		c := conditionOf(observed{Bundle: bundle, Refusal: tc.refusal, Selector: selector, Now: start}, tc.out)
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
