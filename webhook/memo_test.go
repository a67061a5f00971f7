package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// One answer serves who ask the same for a while; errors are not remembered, and not everything for ever.
func TestQuestionsAreFew(t *testing.T) {
	var asked int
	var m memo[string, bool]
	ask := func(context.Context) (bool, time.Duration, error) { asked++; return true, time.Minute, nil }
	for range 10 {
		if v, err := m.get(ctx, "a", ask); err != nil || !v {
			t.Fatal(v, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	fails := func(context.Context) (bool, time.Duration, error) {
		asked++
		return false, time.Minute, errors.New("no")
	}
	for range 2 {
		if _, err := m.get(ctx, "b", fails); err == nil {
			t.Error("an error is lost")
		}
	}
	if asked != 3 {
		t.Errorf("an error is remembered: asked %d times", asked)
	}
	for i := range 3 * maxMemo {
		if _, err := m.get(ctx, fmt.Sprint(i), ask); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.entries) > maxMemo {
		t.Errorf("%d answers are remembered", len(m.entries))
	}
}
