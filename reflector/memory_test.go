package reflector

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type objects = map[types.NamespacedName]Object

func objectsOf(list ...Object) objects {
	m := objects{}
	for _, o := range list {
		m[o.Key] = o
	}
	return m
}

func version(v string) func(*Object) { return func(o *Object) { o.Version = v } }
func uid(u string) func(*Object)     { return func(o *Object) { o.UID = types.UID(u) } }

func TestOverlay(t *testing.T) {
	begin := time.Unix(0, 0)
	created := func(m *memory) { m.wrote(home, auto("a", version("10")), "h", begin) }
	deleted := func(m *memory) { m.removed(home, auto("a", version("10"), uid("m")), begin) }
	for _, tc := range []struct {
		reason string
		wrote  func(*memory)
		after  time.Duration
		cached objects
		want   objects
		forgot bool
	}{
		{"the cache does not show our create yet", created, 0, objectsOf(), objectsOf(auto("a", version("10"))), false},
		{"the cache shows what was there before our patch", created, 0, objectsOf(auto("a", version("9"))), objectsOf(auto("a", version("10"))), false},
		{"the cache shows our write", created, 0, objectsOf(auto("a", version("10"))), objectsOf(auto("a", version("10"))), true},
		{"the cache shows more", created, 0, objectsOf(auto("a", version("11"), old)), objectsOf(auto("a", version("11"), old)), true},
		{"versions are numbers", created, 0, objectsOf(auto("a", version("9"))), objectsOf(auto("a", version("10"))), false},
		{"the cache never showed it: it was deleted while the watch was down", created, settle + 1, objectsOf(), objectsOf(), true},
		{"the cache still shows what we deleted", deleted, 0, objectsOf(auto("a", uid("m"))), objectsOf(), false},
		{"it is gone there too", deleted, 0, objectsOf(), objectsOf(), true},
		{"somebody has made another one", deleted, 0, objectsOf(auto("a", uid("n"))), objectsOf(auto("a", uid("n"))), true},
		{"a live read vouches for a version", func(m *memory) { m.verify(home, auto("a", version("10")), "v") }, 0,
			objectsOf(auto("a", version("10"), func(o *Object) { o.Suspect = true })), objectsOf(auto("a", version("10"), func(o *Object) { o.Hash = "v" })), true},
		{"and for no other", func(m *memory) { m.verify(home, auto("a", version("10")), "v") }, 0,
			objectsOf(auto("a", version("11"), func(o *Object) { o.Suspect = true })), objectsOf(auto("a", version("11"), func(o *Object) { o.Suspect = true })), true},
	} {
		var m memory
		tc.wrote(&m)
		m.overlay(home, tc.cached, begin.Add(tc.after))
		if diff := cmp.Diff(tc.want, tc.cached); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if got := !m.pending(home); got != tc.forgot {
			t.Errorf("%s: forgot = %t", tc.reason, got)
		}
	}
}

func TestCaughtUp(t *testing.T) {
	obj := func(v, u string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", ResourceVersion: v, UID: types.UID(u)}}
	}
	for _, tc := range []struct {
		reason       string
		seen         *metav1.PartialObjectMetadata
		gone         bool
		echo, forgot bool
	}{
		{"an older state, on its way while we wrote", obj("9", "m"), false, false, false},
		{"our own write", obj("10", "m"), false, true, true},
		{"somebody's write after ours", obj("11", "m"), false, false, true},
		{"the end of the object we wrote", obj("11", "m"), true, false, true},
		{"the end of the one we replaced", obj("9", "before"), true, false, false},
	} {
		var m memory
		m.wrote(home, auto("a", version("10"), uid("m")), "h", time.Unix(0, 0))
		if echo := m.caughtUp(home, tc.seen, tc.gone); echo != tc.echo {
			t.Errorf("%s: echo = %t", tc.reason, echo)
		}
		if forgot := !m.pending(home); forgot != tc.forgot {
			t.Errorf("%s: forgot = %t", tc.reason, forgot)
		}
	}
	var m memory
	if m.caughtUp(home, obj("1", "m"), false) || len(m.of) > 0 {
		t.Error("an event leaves a trace of a source that nobody knows")
	}
}

func TestSourceIsParsedOncePerVersion(t *testing.T) {
	var m memory
	obj := meta("home", "s", annotated("a"))
	obj.ResourceVersion = "7"
	first := m.source(obj, time.Unix(0, 0))
	if m.source(obj, time.Unix(1, 0)) != first {
		t.Error("parsed twice")
	}
	m.learn(first, Content{Hash: "h"})
	blamed := m.blame(first, Problem{Reason: InvalidPattern})
	if got := m.source(obj, time.Unix(1, 0)); got != blamed || len(first.Problems) > 0 {
		t.Error("a problem found while matching is forgotten")
	}
	later := obj.DeepCopy()
	later.ResourceVersion = "8"
	if got := m.source(later, time.Unix(2, 0)); got.Version != "8" || len(got.Problems) > 0 || m.content(got).Hash != "" {
		t.Errorf("version 8: %+v", got)
	}
	if got := m.source(obj, time.Unix(3, 0)); got.Version != "7" {
		t.Error("an old cache is taken for news")
	}
	if lag, ok := m.lag(m.source(later, time.Unix(3, 0)), time.Unix(5, 0)); !ok || lag != 3*time.Second {
		t.Errorf("lag = %v, %t", lag, ok)
	}
	if _, ok := m.lag(m.source(later, time.Unix(3, 0)), time.Unix(9, 0)); ok {
		t.Error("one change is measured twice")
	}
}

func TestReportIsNewsOnce(t *testing.T) {
	var m memory
	a, b := notice{reason: Conflict, message: "a"}, notice{reason: NotPermitted, message: "b"}
	for _, tc := range []struct {
		reason string
		hold   []notice
		counts counts
		fresh  []notice
		change counts
	}{
		{"first", []notice{a}, counts{1, 1}, []notice{a}, counts{1, 1}},
		{"again", []notice{a}, counts{1, 1}, nil, counts{}},
		{"one more", []notice{a, b}, counts{1, 2}, []notice{b}, counts{0, 1}},
		{"over", nil, counts{3}, nil, counts{2, -2}},
		{"back", []notice{a}, counts{}, []notice{a}, counts{-3}},
	} {
		fresh, change := m.report(home, tc.hold, tc.counts)
		if diff := cmp.Diff(tc.fresh, fresh, cmp.AllowUnexported(notice{})); diff != "" || change != tc.change {
			t.Errorf("%s: counts change by %v (-want +got):\n%s", tc.reason, change, diff)
		}
	}
}
