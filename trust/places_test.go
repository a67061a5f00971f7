package trust

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	anyPlace  = cmp.AllowUnexported(place{}, repairs{}, places{})
	anyErrors = cmpopts.EquateErrors()
)

func TestPlaceAfter(t *testing.T) {
	configMaps := schema.GroupResource{Resource: "configmaps"}
	conflict := apierrors.NewConflict(configMaps, "b", errors.New("changed"))
	notFound := apierrors.NewNotFound(configMaps, "b")
	apply, keep, clean, refuse := Apply{Namespace: "n"}, Keep{Namespace: "n"}, Clean{Namespace: "n"}, Refuse{Namespace: "n"}
	later := start.Add(time.Minute)
	hold := Hold{Namespace: "n", Until: later}
	recent := start.Add(-time.Minute)
	five := repairs{n: 5, last: recent, writer: "rival"}
	failed := place{state: stateFailed, err: errFault, tries: 3, again: later}
	for _, tc := range []struct {
		reason string
		was    place
		res    result
		repair bool
		writer string
		want   place
		gone   bool // no target
	}{
		{reason: "in place", res: result{Action: keep}},
		{reason: "written for the first time", res: result{Action: apply}},
		{reason: "put back", res: result{Action: apply}, repair: true, writer: "rival",
			want: place{again: start.Add(peace), repairs: repairs{n: 1, last: start, writer: "rival"}}},
		{reason: "put back once more by who knows whom", was: place{repairs: five}, res: result{Action: apply}, repair: true,
			want: place{again: start.Add(peace), repairs: repairs{n: 6, last: start, writer: "rival"}}},
		{reason: "repairs are not forgotten soon", was: place{repairs: five}, res: result{Action: keep},
			want: place{again: recent.Add(peace), repairs: five}},
		{reason: "but after a time of peace", was: place{state: stateContested, repairs: repairs{n: 9, last: start.Add(-peace), writer: "rival"}}, res: result{Action: keep}},
		{reason: "held off", was: place{repairs: five}, res: result{Action: hold}, writer: "other",
			want: place{state: stateContested, again: later, repairs: repairs{n: 5, last: recent, writer: "other"}}},
		{reason: "held off again, after a third client has set a label", was: place{state: stateContested, repairs: five, again: start}, res: result{Action: hold}, writer: "other",
			want: place{state: stateContested, again: later, repairs: five}},
		{reason: "contested till peace", was: place{state: stateContested, repairs: five, again: start}, res: result{Action: apply}, repair: true,
			want: place{state: stateContested, again: start.Add(peace), repairs: repairs{n: 6, last: start, writer: "rival"}}},
		{reason: "failed", res: result{apply, errFault}, want: place{state: stateFailed, err: errFault, tries: 1, again: start.Add(firstRetry)}},
		{reason: "failed again", was: failed, res: result{apply, errFault}, want: place{state: stateFailed, err: errFault, tries: 4, again: start.Add(8 * firstRetry)}},
		{reason: "failed, held off", was: failed, res: result{Action: hold}, want: failed},
		{reason: "failed, written at last", was: failed, res: result{Action: apply}},
		{reason: "failed to be taken back", res: result{clean, errFault}, want: place{state: stateFailed, err: errFault, tries: 1, again: start.Add(firstRetry)}, gone: true},
		{reason: "taken back", was: failed, res: result{Action: clean}, gone: true},
		{reason: "taken back by someone else", res: result{clean, notFound}, gone: true},
		{reason: "the namespace is gone", was: failed, res: result{apply, notFound}, gone: true},
		{reason: "outdated", was: place{repairs: five}, res: result{apply, conflict}, want: place{again: start, repairs: five}},
		{reason: "not confirmed", res: result{clean, errStale}, want: place{again: start}, gone: true},
		{reason: "somebody else's", res: result{Action: refuse}, want: place{state: stateConflict}},
		{reason: "somebody else's by now", was: place{state: stateContested, repairs: five}, res: result{Action: refuse},
			want: place{state: stateConflict, again: recent.Add(peace), repairs: five}},
	} {
		got, target := tc.was.after(tc.res, tc.repair, Found{Writer: tc.writer}, start)
		if diff := cmp.Diff(tc.want, got, anyPlace, anyErrors); diff != "" || target == tc.gone {
			t.Errorf("%s: target %t (-want +got):\n%s", tc.reason, target, diff)
		}
	}
}

func TestPause(t *testing.T) {
	for _, tc := range []struct {
		reason string
		place  place
		want   time.Duration // from start; 0 for none
	}{
		{reason: "nothing is amiss"},
		{reason: "the first repairs", place: place{repairs: repairs{n: 4, last: start}}},
		{reason: "one too many", place: place{repairs: repairs{n: 5, last: start}}, want: time.Second},
		{reason: "two", place: place{repairs: repairs{n: 6, last: start}}, want: 2 * time.Second},
		{reason: "the longest", place: place{repairs: repairs{n: 14, last: start}}, want: 5 * time.Minute},
		{reason: "for ever", place: place{repairs: repairs{n: 1 << 40, last: start}}, want: 5 * time.Minute},
		{reason: "a failure", place: place{state: stateFailed, again: start.Add(time.Hour), repairs: repairs{n: 5, last: start}}, want: time.Hour},
		{reason: "no failure", place: place{again: start.Add(time.Hour)}},
	} {
		var want time.Time
		if tc.want != 0 {
			want = start.Add(tc.want)
		}
		if got := tc.place.pause(); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", tc.reason, got, want)
		}
	}
}

func TestPlacesUpdate(t *testing.T) {
	notable := func(p place) map[string]place { return map[string]place{"x": p} }
	failed := place{state: stateFailed, err: errFault, tries: 1, again: start.Add(firstRetry)}
	once := place{again: start.Add(peace), repairs: repairs{n: 1, last: start}}
	write := []result{{Action: Apply{Namespace: "x"}}}
	for _, tc := range []struct {
		reason string
		was    places
		o      observed
		done   []result
		want   places
	}{
		{reason: "the first time", o: observed{Everywhere: true}, done: []result{{Action: Apply{Namespace: "x"}}, {Apply{Namespace: "y"}, errFault}},
			want: places{targets: map[string]bool{"x": true, "y": true}, notable: map[string]place{"y": failed}}},
		{reason: "a look everywhere begins anew", was: places{targets: map[string]bool{"gone": true}, notable: map[string]place{"gone": failed}},
			o: observed{Everywhere: true, Again: true}, done: []result{{Action: Keep{Namespace: "x"}}},
			want: places{targets: map[string]bool{"x": true}, notable: map[string]place{}}},
		{reason: "and remembers what it has to", was: places{targets: map[string]bool{"x": true}, notable: notable(once)},
			o: observed{Everywhere: true, Again: true}, done: []result{{Action: Keep{Namespace: "x"}}},
			want: places{targets: map[string]bool{"x": true}, notable: notable(once)}},
		{reason: "a repair", was: places{targets: map[string]bool{"x": true, "y": true}, notable: map[string]place{"y": failed}},
			o: observed{Again: true, Looked: []string{"x"}}, done: write,
			want: places{targets: map[string]bool{"x": true, "y": true}, notable: map[string]place{"x": once, "y": failed}}},
		{reason: "new content is no repair", was: places{targets: map[string]bool{"x": true}, notable: map[string]place{}},
			o: observed{Everywhere: true}, done: write, want: places{targets: map[string]bool{"x": true}, notable: map[string]place{}}},
		{reason: "a new namespace needs no repair", was: places{targets: map[string]bool{}, notable: map[string]place{}},
			o: observed{Again: true, Looked: []string{"x"}}, done: write, want: places{targets: map[string]bool{"x": true}, notable: map[string]place{}}},
		{reason: "nor does one where the write had failed", was: places{targets: map[string]bool{"x": true}, notable: notable(failed)},
			o: observed{Again: true, Looked: []string{"x"}}, done: write, want: places{targets: map[string]bool{"x": true}, notable: map[string]place{}}},
		{reason: "nor a ConfigMap that was given to the Bundle", was: places{targets: map[string]bool{"x": true}, notable: notable(place{state: stateConflict})},
			o: observed{Again: true, Looked: []string{"x"}}, done: write, want: places{targets: map[string]bool{"x": true}, notable: map[string]place{}}},
		{reason: "a namespace that is gone", was: places{targets: map[string]bool{"x": true, "y": true}, notable: notable(failed)},
			o: observed{Again: true, Looked: []string{"x"}}, want: places{targets: map[string]bool{"y": true}, notable: map[string]place{}}},
		{reason: "a cache that lags is looked at again", was: places{targets: map[string]bool{"x": true}, notable: map[string]place{}},
			o: observed{Again: true, Looked: []string{"x", "y"}, Behind: []string{"x", "y"}}, done: []result{{Action: Keep{Namespace: "x"}}},
			want: places{targets: map[string]bool{"x": true}, notable: map[string]place{"x": {again: start.Add(settle)}, "y": {again: start.Add(settle)}}}},
		{reason: "or earlier", was: places{targets: map[string]bool{"x": true}, notable: map[string]place{}},
			o: observed{Again: true, Looked: []string{"x"}, Behind: []string{"x"}}, done: []result{{Apply{Namespace: "x"}, errFault}},
			want: places{targets: map[string]bool{"x": true}, notable: notable(failed)}},
	} {
		tc.o.Now = start
		tc.was.update(tc.o, tc.done)
		if diff := cmp.Diff(tc.want, tc.was, anyPlace, anyErrors); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestPlaces(t *testing.T) {
	p := places{
		targets: map[string]bool{"good": true, "lagging": true, "failed": true, "conflict": true, "contested": true},
		notable: map[string]place{
			"lagging":        {again: start.Add(settle)},
			"failed":         {state: stateFailed, err: errFault, again: start},
			"also failed":    {state: stateFailed, err: errFault, again: start.Add(-time.Second)}, // to be taken back
			"conflict":       {state: stateConflict},
			"contested":      {state: stateContested, again: start.Add(time.Hour), repairs: repairs{writer: "rival"}},
			"also contested": {state: stateContested, again: start.Add(time.Minute)},
		},
	}
	p.targets["also contested"] = true
	wantCount := map[state]int{stateSynced: 2, stateFailed: 2, stateConflict: 1, stateContested: 2}
	if diff := cmp.Diff(wantCount, p.count()); diff != "" {
		t.Errorf("count (-want +got):\n%s", diff)
	}
	wantProblems := problems{
		Failed:    []failure{{"also failed", errFault}, {"failed", errFault}},
		Conflicts: []string{"conflict"},
		Contested: []string{"also contested", "contested"},
		Writers:   []string{"rival"},
	}
	if diff := cmp.Diff(wantProblems, p.problems(), anyErrors); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	due, next := p.due(start)
	slices.Sort(due)
	if diff := cmp.Diff([]string{"also failed", "failed"}, due); diff != "" || !next.Equal(start.Add(settle)) {
		t.Errorf("next at %s, due (-want +got):\n%s", next, diff)
	}
	if due, next := (places{}).due(start); len(due) != 0 || !next.IsZero() {
		t.Errorf("nothing is known, and %v due, next at %s", due, next)
	}
}

func TestOutcomeOf(t *testing.T) {
	terminating := &apierrors.StatusError{ErrStatus: metav1.Status{
		Reason: metav1.StatusReasonForbidden, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}}}}
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "b")
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "b", errors.New("changed"))
	got := outcomeOf([]result{
		{Action: Keep{Namespace: "a"}},
		{Action: Hold{Namespace: "b"}},
		{Action: Refuse{Namespace: "c"}},
		{Action: Apply{Namespace: "d"}},
		{Action: Apply{Namespace: "e", Drift: true}},
		{Action: Clean{Namespace: "f"}},
		{Apply{Namespace: "g", Drift: true}, errFault},
		{Clean{Namespace: "h"}, errStale},
		{Apply{Namespace: "i"}, conflict},
		{Apply{Namespace: "j", Drift: true}, notFound},
		{Apply{Namespace: "k"}, terminating},
		{Apply{Namespace: "l"}, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "b", errors.New("no"))},
	})
	want := outcome{Applied: 2, Cleaned: 1, Drift: []string{"e"}, Stale: []error{errStale, conflict}}
	if diff := cmp.Diff(want, outcome{got.Applied, got.Cleaned, got.Drift, nil, got.Stale}, anyErrors); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Failed) != 2 || got.Failed[0].Namespace != "g" || got.Failed[1].Namespace != "l" {
		t.Errorf("failed: %v", got.Failed)
	}
}
