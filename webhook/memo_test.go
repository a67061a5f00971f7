package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func keyFor(t testing.TB, question ...any) key {
	t.Helper()
	k, err := keyOf(question...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysDiffer(t *testing.T) {
	for _, tc := range [][2][]any{
		{{"a.b", "c"}, {"a", "b.c"}}, {{"a b", "c"}, {"a", "b c"}}, {{"a", "b"}, {"a,b"}}, {{`a","b`}, {"a", "b"}}, {{"", "a"}, {"a", ""}}, {{"a", "b"}, {"b", "a"}},
	} {
		if keyFor(t, tc[0]...) == keyFor(t, tc[1]...) {
			t.Errorf("%q and %q have one key", tc[0], tc[1])
		}
	}
	if keyFor(t, "a", &alice) != keyFor(t, "a", alice.DeepCopy()) {
		t.Error("the same question has two keys")
	}
}

// One answer serves who ask the same for as long as it is good; an error serves nobody else.
func TestAnswersAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemo[int](1), keyFor(t, "a")
		asked := 0
		for _, step := range []struct {
			after time.Duration
			err   error
			want  int // how often it has been asked
		}{
			{0, nil, 1}, {0, nil, 1}, {time.Minute - 1, nil, 1}, {1, nil, 2}, {time.Minute - 1, nil, 2},
			{1, errors.New("no"), 3}, {0, errors.New("no"), 4}, {0, nil, 5}, {0, errors.New("not asked"), 5},
		} {
			<-time.After(step.after)
			before := asked
			v, err := m.get(t.Context(), k, func(context.Context) (int, time.Duration, error) { asked++; return asked, time.Minute, step.err })
			if asked != step.want || (err != nil) != (asked > before && step.err != nil) || err == nil && v != asked {
				t.Fatalf("after %s: asked %d times, want %d; got %d, %v", step.after, asked, step.want, v, err)
			}
		}
	})
}

// What is remembered is bounded, and what is out of date goes when something comes.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemo[bool](1)
		ask := func(ttl time.Duration) func(context.Context) (bool, time.Duration, error) {
			return func(context.Context) (bool, time.Duration, error) { return true, ttl, nil }
		}
		get := func(ttl time.Duration, question ...any) {
			t.Helper()
			if _, err := m.get(t.Context(), keyFor(t, question...), ask(ttl)); err != nil {
				t.Fatal(err)
			}
		}
		get(time.Hour, "long")
		for i := range maxMemo - 1 {
			get(time.Second, i)
		}
		if n := len(m.entries); n != maxMemo {
			t.Fatalf("%d answers are remembered", n)
		}
		<-time.After(time.Second)
		get(time.Second, "new")
		if _, ok := m.recall(keyFor(t, "long")); !ok || len(m.entries) != 2 {
			t.Errorf("the one that lasts is remembered: %v, among %d", ok, len(m.entries))
		}
		for i := range 3 * maxMemo {
			get(time.Hour, i)
			if len(m.entries) > maxMemo {
				t.Fatalf("%d answers are remembered", len(m.entries))
			}
		}
	})
}

// Who ask the same at the same time wait for one answer, also if the first of them leaves.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemo[int](1), keyFor(t, "a")
		asked, answer := 0, make(chan int)
		ask := func(ctx context.Context) (int, time.Duration, error) {
			asked++
			select {
			case n := <-answer:
				return n, time.Second, nil
			case <-ctx.Done():
				return 0, 0, ctx.Err()
			}
		}
		leaving, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := m.get(leaving, k, ask); first <- err }()
		synctest.Wait()
		var others sync.WaitGroup
		for range 5 {
			others.Go(func() {
				if n, err := m.get(t.Context(), k, ask); n != 7 || err != nil {
					t.Errorf("got %d, %v", n, err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves gets %v", err)
		}
		answer <- 7
		others.Wait()
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// So many questions are open at a time, so many wait, and the rest is turned away; none is open for ever.
func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const open = 2
		m := newMemo[bool](open)
		began, asking := time.Now(), 0
		outcomes := map[string]int{}
		var mu sync.Mutex // guards asking and outcomes
		for i := range 3 * queued * open {
			go func() {
				_, err := m.get(t.Context(), keyFor(t, i), func(ctx context.Context) (bool, time.Duration, error) {
					mu.Lock()
					asking++
					mu.Unlock()
					<-ctx.Done()
					return false, 0, errors.New("no answer")
				})
				mu.Lock()
				defer mu.Unlock()
				outcomes[fmt.Sprintf("after %s: %v", time.Since(began), err)]++
			}()
		}
		synctest.Wait()
		mu.Lock()
		if diff := cmp.Diff(map[string]int{"after 0s: " + errBusy.Error(): 2 * queued * open}, outcomes); diff != "" || asking != open {
			t.Errorf("%d questions are open, outcomes (-want +got):\n%s", asking, diff)
		}
		mu.Unlock()
		<-time.After(askTimeout)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		late := 0
		for what, n := range outcomes {
			if what != "after 0s: "+errBusy.Error() {
				late += n
			}
		}
		if late != queued*open || len(m.open) > 0 || len(m.waiting) > 0 {
			t.Errorf("%d have ended, %d are open, %d wait: %v", late, len(m.open), len(m.waiting), outcomes)
		}
	})
}
