package trust

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	me := Owner{Name: "b", UID: "u1"}
	want := &Desired{Key: "ca.crt", Hash: "h"}
	good := Found{UID: "c", Version: "7", Owner: "u1", Label: "b", Hash: "h", Keys: []string{"ca.crt"}, Managed: true}
	with := func(change func(*Found)) *Found {
		f := good
		change(&f)
		return &f
	}
	update, drift := Apply{Namespace: "n", Version: "7", UID: "c"}, Apply{Namespace: "n", Version: "7", UID: "c", Drift: true}
	later := start.Add(time.Second)
	clean := Clean{Namespace: "n", Version: "7", UID: "c"}

	for _, tc := range []struct {
		reason     string
		found      *Found
		deselected bool
		noTarget   bool
		refused    bool
		pause      time.Time
		want       Action
	}{
		{reason: "absent: create", want: Apply{Namespace: "n"}},
		{reason: "as it should be", found: &good, want: Keep{Namespace: "n"}},
		{reason: "other content", found: with(func(f *Found) { f.Hash = "old" }), want: update},
		{reason: "our key taken by another manager", found: with(func(f *Found) { f.Keys = nil }), want: drift},
		{reason: "a key of an earlier spec is still ours", found: with(func(f *Found) { f.Keys = []string{"ca.crt", "old"} }), want: drift},
		{reason: "key renamed in the spec", found: with(func(f *Found) { f.Keys, f.Hash = []string{"old"}, "old" }), want: update},
		{reason: "label taken off", found: with(func(f *Found) { f.Label = "" }), want: drift},
		{reason: "label changed", found: with(func(f *Found) { f.Label = "other" }), want: drift},
		{reason: "owner reference taken off", found: with(func(f *Found) { f.Owner = "" }), want: drift},
		{reason: "hash annotation changed", found: with(func(f *Found) { f.Hash = "" }), want: update},
		{reason: "left by a deleted Bundle of the same name", found: with(func(f *Found) { f.Owner = "u0" }), want: update},
		{reason: "left by trust-manager before it set owners", found: with(func(f *Found) { f.Owner, f.Label = "", "" }), want: drift},
		{reason: "a stranger's", found: &Found{UID: "c", Version: "7"}, want: Refuse{Namespace: "n"}},
		{reason: "a stranger's with some controller", found: &Found{UID: "c", Version: "7", Owner: "x"}, want: Refuse{Namespace: "n"}},
		{reason: "a stranger's with another Bundle's label", found: &Found{UID: "c", Version: "7", Label: "other"}, want: Refuse{Namespace: "n"}},
		{reason: "a stranger's with a hash is still a stranger's", found: &Found{UID: "c", Version: "7", Hash: "h"}, want: Refuse{Namespace: "n"}},
		{reason: "given to the Bundle by the label", found: &Found{UID: "c", Version: "7", Label: "b"}, want: update},
		{reason: "being deleted", found: with(func(f *Found) { f.Deleting, f.Hash = true, "" }), want: Keep{Namespace: "n"}},
		{reason: "no longer selected", found: &good, deselected: true, want: clean},
		{reason: "the Bundle has no target any more", found: &good, noTarget: true, want: clean},
		{reason: "outdated and no longer selected", found: with(func(f *Found) { f.Hash, f.Keys = "old", nil }), deselected: true, want: clean},
		{reason: "no longer selected, being deleted", found: with(func(f *Found) { f.Deleting = true }), deselected: true},
		{reason: "no longer selected, controlled by another", found: with(func(f *Found) { f.Owner = "u0" }), deselected: true},
		{reason: "no longer selected, released before", found: with(func(f *Found) { f.Managed = false }), deselected: true},
		{reason: "not selected, a stranger's", found: &Found{UID: "c", Version: "7", Label: "b"}, deselected: true},
		{reason: "not selected, absent", deselected: true},
		{reason: "absent, during a pause", pause: later, want: Hold{Namespace: "n", Until: later}},
		{reason: "drift, during a pause", pause: later, found: with(func(f *Found) { f.Keys = nil }), want: Hold{Namespace: "n", Until: later}},
		{reason: "drift, when a pause ends", pause: start, found: with(func(f *Found) { f.Keys = nil }), want: drift},
		{reason: "as it should be, during a pause", pause: later, found: &good, want: Keep{Namespace: "n"}},
		{reason: "a stranger's, during a pause", pause: later, found: &Found{UID: "c", Version: "7"}, want: Refuse{Namespace: "n"}},
		{reason: "no longer selected, during a pause", pause: later, found: &good, deselected: true, want: clean},
		{reason: "not selected, absent, during a pause", pause: later, deselected: true},
		{reason: "a refused Bundle creates nothing", refused: true},
		{reason: "a refused Bundle changes nothing", refused: true, found: with(func(f *Found) { f.Hash = "old" })},
		{reason: "a refused Bundle takes nothing back", refused: true, deselected: true, found: &good},
	} {
		s := State{Bundle: me, Want: want, Refused: tc.refused, Namespaces: []Namespace{{Name: "n", Selected: !tc.deselected}}, Now: start}
		if tc.noTarget {
			s.Want = nil
		}
		if !tc.pause.IsZero() {
			s.Pauses = map[string]time.Time{"n": tc.pause}
		}
		if tc.found != nil {
			s.Found = map[string]Found{"n": *tc.found}
		}
		var todo []Action
		if tc.want != nil {
			todo = []Action{tc.want}
		}
		if diff := cmp.Diff(todo, plan(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}
