package inject

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestCovers(t *testing.T) {
	secret := Ref{Kind: fromSecret, NamespacedName: types.NamespacedName{Namespace: "ns", Name: "s"}}
	known := memo{target: "uid", version: "100", source: secret, sourceVersion: "90", until: start}
	for _, tc := range []struct {
		reason          string
		target, version string
		src             source
		now             time.Time
		change          func(*memo)
		want            bool
	}{
		{reason: "nothing has changed", want: true},
		{reason: "the cache lags behind what was written", version: "99", want: true},
		{reason: "the target has changed", version: "101"},
		{reason: "a longer number is newer", version: "1000"},
		{reason: "another target has the name", target: "other"},
		{reason: "the cache lags behind the Secret that was read", src: source{Ref: secret, Version: "89"}, want: true},
		{reason: "the Secret has changed", src: source{Ref: secret, Version: "91"}},
		{reason: "the Secret is gone", src: source{Ref: secret}},
		{reason: "it is another Secret", src: source{Ref: Ref{Kind: fromSecret}, Version: "90"}},
		{reason: "the Secret was not there", change: func(m *memo) { m.sourceVersion = "" }},
		{reason: "a certificate has expired", now: start.Add(time.Second)},
		{reason: "no certificate expires", now: start.AddDate(100, 0, 0), change: func(m *memo) { m.until = time.Time{} }, want: true},
		{reason: "the API server has the same CA", src: source{Ref: Ref{Kind: fromAPIServer}, Version: "b"}, change: func(m *memo) { m.source, m.sourceVersion = Ref{Kind: fromAPIServer}, "b" }, want: true},
		{reason: "the API server has another CA, whose hash may be less", src: source{Ref: Ref{Kind: fromAPIServer}, Version: "a"}, change: func(m *memo) { m.source, m.sourceVersion = Ref{Kind: fromAPIServer}, "b" }},
		{reason: "nothing is known", change: func(m *memo) { *m = memo{} }},
	} {
		m := known
		if tc.change != nil {
			tc.change(&m)
		}
		src, now := tc.src, tc.now
		if src.Ref == (Ref{}) {
			src = source{Ref: secret, Version: "90"}
		}
		if now.IsZero() {
			now = start
		}
		target, version := "uid", "100"
		if tc.target != "" {
			target = tc.target
		}
		if tc.version != "" {
			version = tc.version
		}
		if got := m.covers(types.UID(target), version, src, now); got != tc.want {
			t.Errorf("%s: covers is %v", tc.reason, got)
		}
	}
}

func TestWakes(t *testing.T) {
	ref := func(kind, name string) Ref { return Ref{kind, types.NamespacedName{Namespace: "ns", Name: name}} }
	var w wakes
	want := func(reason string, of Ref, names ...string) {
		t.Helper()
		got := w.targets(of)
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("%s: %s wakes %q, want %q", reason, of, got, names)
		}
	}
	cert, one, two := ref(fromCertificate, "c"), ref(fromSecret, "one"), ref(fromSecret, "two")
	want("an empty index", one)
	w.set("x", cert, one)
	w.set("y", one)
	want("a Certificate", cert, "x")
	want("its Secret, which is another target's source too", one, "x", "y")
	w.set("x", cert, two)
	want("the Certificate has another Secret now", one, "y")
	want("that one", two, "x")
	w.set("x")
	w.set("y")
	want("a target that is gone", two)
	if len(w.feeds)+len(w.sources) != 0 {
		t.Errorf("left behind: %v %v", w.feeds, w.sources)
	}
}
