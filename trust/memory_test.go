package trust

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMemory(t *testing.T) {
	key := types.NamespacedName{Namespace: "n", Name: "b"}
	wrote := Found{UID: "u", Version: "10", Hash: "new"}
	for _, tc := range []struct {
		reason string
		gone   bool
		cached *Found
		after  time.Duration
		want   *Found
		behind bool
	}{
		{reason: "the cache has yet to show the target", want: &wrote, behind: true},
		{reason: "the cache shows an older target", cached: &Found{UID: "u", Version: "9", Hash: "old"}, want: &wrote, behind: true},
		{reason: "the cache has caught up", cached: &Found{UID: "u", Version: "10", Hash: "new"}, want: &Found{UID: "u", Version: "10", Hash: "new"}},
		{reason: "versions compare as numbers", cached: &Found{UID: "u", Version: "100", Hash: "newer"}, want: &Found{UID: "u", Version: "100", Hash: "newer"}},
		{reason: "the cache still shows what was deleted", gone: true, cached: &Found{UID: "u", Version: "10"}, behind: true},
		{reason: "the cache shows the end of what was deleted", gone: true},
		{reason: "deleted and made anew by someone", gone: true, cached: &Found{UID: "v", Version: "9"}, want: &Found{UID: "v", Version: "9"}},
		{reason: "a memory does not outweigh the cache for ever", after: settle + 1},
	} {
		var m memory
		m.remember(key, wrote, tc.gone, start)
		var cached Found
		if tc.cached != nil {
			cached = *tc.cached
		}
		got, exists, behind := m.newest(key, cached, tc.cached != nil, start.Add(tc.after))
		if exists != (tc.want != nil) || behind != tc.behind || exists && got.Version+got.Hash != tc.want.Version+tc.want.Hash {
			t.Errorf("%s: %+v %t, behind %t; want %+v, behind %t", tc.reason, got, exists, behind, tc.want, tc.behind)
		}
		if !behind && len(m.m) > 0 {
			t.Errorf("%s: still remembered", tc.reason)
		}
	}
}

func TestMemoryEcho(t *testing.T) {
	key := types.NamespacedName{Namespace: "n", Name: "b"}
	for _, tc := range []struct {
		reason   string
		gone     bool
		uid      types.UID
		version  string
		deleted  bool
		want     bool
		forgiven bool // the entry goes
	}{
		{reason: "the own write", uid: "u", version: "10", want: true, forgiven: true},
		{reason: "an event before the own write", uid: "u", version: "9", want: true},
		{reason: "a write after the own", uid: "u", version: "11", forgiven: true},
		{reason: "someone deleted it", uid: "u", version: "11", deleted: true, forgiven: true},
		{reason: "the own deletion", gone: true, uid: "u", version: "12", deleted: true, want: true, forgiven: true},
		{reason: "an event before the own deletion", gone: true, uid: "u", version: "10", want: true},
		{reason: "made anew after the own deletion", gone: true, uid: "v", version: "13", forgiven: true},
	} {
		var m memory
		m.remember(key, Found{UID: "u", Version: "10"}, tc.gone, start)
		obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "b", UID: tc.uid, ResourceVersion: tc.version}}
		if got := m.echo(obj, tc.deleted); got != tc.want || (len(m.m) == 0) != tc.forgiven {
			t.Errorf("%s: echo %t, %d entries; want %t, gone: %t", tc.reason, got, len(m.m), tc.want, tc.forgiven)
		}
	}
	var m memory
	m.remember(key, Found{}, false, start)
	m.remember(types.NamespacedName{Namespace: "n", Name: "other"}, Found{}, false, start)
	if m.forget("b"); len(m.m) != 1 {
		t.Errorf("%d entries after forgetting one Bundle of two", len(m.m))
	}
}

func TestMemoCovers(t *testing.T) {
	a := sourceRef{Kind: "Secret", Name: "a"}
	absent := sourceRef{Kind: "Secret", Name: "absent"}
	m := &memo{uid: "u", generation: 2, versions: map[sourceRef]uint64{a: 10, absent: 0}, until: start}
	for _, tc := range []struct {
		reason     string
		generation int64
		versions   map[sourceRef]uint64
		after      time.Duration
		want       bool
	}{
		{reason: "nothing has changed", generation: 2, versions: map[sourceRef]uint64{a: 10, absent: 0}, want: true},
		{reason: "the cache is older than what was read", generation: 2, versions: map[sourceRef]uint64{a: 9, absent: 0}, want: true},
		{reason: "a newer source", generation: 2, versions: map[sourceRef]uint64{a: 11, absent: 0}},
		{reason: "another source", generation: 2, versions: map[sourceRef]uint64{{Kind: "Secret", Name: "b"}: 10, absent: 0}},
		{reason: "one source more", generation: 2, versions: map[sourceRef]uint64{a: 10, absent: 0, {Kind: "Secret", Name: "b"}: 1}},
		{reason: "one source less", generation: 2, versions: map[sourceRef]uint64{a: 10}},
		{reason: "a source that was read is not in the cache", generation: 2, versions: map[sourceRef]uint64{a: 0, absent: 0}},
		{reason: "a source that was absent is there", generation: 2, versions: map[sourceRef]uint64{a: 10, absent: 1}},
		{reason: "a new spec", generation: 3, versions: map[sourceRef]uint64{a: 10, absent: 0}},
		{reason: "a certificate has expired", generation: 2, versions: map[sourceRef]uint64{a: 10, absent: 0}, after: 1},
	} {
		if got := m.covers("u", tc.generation, tc.versions, start.Add(tc.after)); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.reason, got, tc.want)
		}
	}
	if m.covers("v", 2, m.versions, start) {
		t.Error("a memo covers another Bundle of the same name")
	}
}

func TestNews(t *testing.T) {
	var n news
	n.add("b", "x")
	n.add("b", "y")
	n.add("b", "x")
	n.add("other", "z")
	if diff := cmp.Diff(map[string]bool{"x": true, "y": true}, n.take("b")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := n.take("b"); len(got) != 0 {
		t.Errorf("taken twice: %v", got)
	}
	if got := n.take("other"); len(got) != 1 || len(n.m) != 0 {
		t.Errorf("another Bundle's: %v, left behind: %v", got, n.m)
	}
}
