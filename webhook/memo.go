package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxMemo is how many answers are remembered at a time.
const maxMemo = 512

// memo remembers answers for a while, and lets those who ask the same at the same time wait for one answer.
type memo[K comparable, V any] struct {
	// slots bounds how many questions are open at a time; nil is no bound. Whoever reaches our port can make us ask.
	slots   chan struct{}
	mu      sync.Mutex // guards entries; never held while asking
	entries map[K]remembered[V]
	flight  singleflight.Group
}

type remembered[V any] struct {
	value V
	until time.Time
}

// get returns the answer to key, asked anew unless it is remembered. What is asked ends after askTimeout, whoever waits for it.
func (m *memo[K, V]) get(ctx context.Context, key K, ask func(context.Context) (V, time.Duration, error)) (V, error) {
	if v, ok := m.recall(key); ok {
		return v, nil
	}
	done := m.flight.DoChan(fmt.Sprint(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		if m.slots != nil {
			select {
			case m.slots <- struct{}{}:
				defer func() { <-m.slots }()
			case <-ctx.Done():
				var zero V
				return zero, fmt.Errorf("waiting to ask the API server: %w", ctx.Err())
			}
		}
		v, ttl, err := ask(ctx)
		if err == nil {
			m.remember(key, v, ttl)
		}
		return v, err
	})
	var zero V
	select {
	case <-ctx.Done():
		return zero, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(V), nil
	}
}

func (m *memo[K, V]) recall(key K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok || time.Now().After(e.until) {
		return v, false
	}
	return e.value, true
}

func (m *memo[K, V]) remember(key K, v V, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil || len(m.entries) >= maxMemo { // forgetting costs a question, remembering everything would cost memory
		m.entries = map[K]remembered[V]{}
	}
	m.entries[key] = remembered[V]{value: v, until: time.Now().Add(ttl)}
}
