package issuance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestAlarms(t *testing.T) {
	now := start
	a := newAlarms(func() time.Time { return now }, time.Minute)
	expect := func(what string, wait time.Duration, names ...string) {
		t.Helper()
		keys, got := a.due()
		var due []string
		for _, key := range keys {
			due = append(due, key.Name)
		}
		slices.Sort(due)
		if diff := cmp.Diff(names, due); diff != "" || got != wait {
			t.Errorf("%s: look again in %s, want %s; -want +got\n%s", what, got, wait, diff)
		}
	}
	key := func(name string) types.NamespacedName { return keyOf("ns", name) }
	expect("nothing is set", time.Minute)
	a.set(key("a"), now.Add(10*time.Second))
	a.set(key("b"), now.Add(20*time.Second))
	a.set(key("c"), now.Add(time.Hour))
	expect("too early", 10*time.Second)
	now = now.Add(10 * time.Second)
	expect("the first", 10*time.Second, "a")
	expect("each time counts once", 10*time.Second)
	a.set(key("b"), now.Add(30*time.Minute))
	a.set(key("b"), now.Add(30*time.Minute))
	expect("put off", time.Minute)
	a.set(key("c"), time.Time{})
	now = now.Add(90 * day) // the clock was set
	expect("long overdue, and one that was taken back", time.Minute, "b")
	a.set(key("a"), now)
	a.set(key("b"), now.Add(-time.Hour))
	expect("at once", time.Minute, "a", "b")
	now = now.Add(-day)
	expect("the clock was set back", time.Minute)
}

// What is outdated takes no memory for long, and is not told.
func TestAlarmsForget(t *testing.T) {
	a := newAlarms(func() time.Time { return start }, time.Minute)
	for i := range 100_000 {
		a.set(keyOf("ns", fmt.Sprint(i%10)), start.Add(time.Duration(i)*time.Second))
	}
	if n := len(a.heap); n > 100 {
		t.Errorf("%d times are kept for 10 keys", n)
	}
	a.now = func() time.Time { return start.Add(1000 * day) }
	if keys, _ := a.due(); len(keys) != 10 {
		t.Errorf("%d keys are due, want 10", len(keys))
	}
	if len(a.at)+len(a.heap) != 0 {
		t.Errorf("%d keys and %d times are left", len(a.at), len(a.heap))
	}
}
