package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// maxMemo is how many answers are remembered at a time.
	maxMemo = 512
	// queued is how many questions may wait, for each that may be open.
	queued = 8
)

var errBusy = errors.New("too many questions wait for the API server")

// key is what an answer is remembered by: a digest, so that a question takes no room, however long it is.
type key [sha256.Size]byte

// keyOf returns the key of a question. JSON tells its parts apart.
func keyOf(question ...any) (key, error) {
	raw, err := json.Marshal(question)
	if err != nil {
		return key{}, fmt.Errorf("encoding a question: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// memo remembers answers for a while, and lets those who ask the same at the same time wait for one answer. Whoever reaches our port
// can make us ask: questions that are open, those that wait, and what is remembered are bounded.
type memo[V any] struct {
	open    chan struct{}
	waiting chan struct{} // what is open included
	mu      sync.Mutex    // guards entries; never held while asking
	entries map[key]remembered[V]
	flight  singleflight.Group
}

type remembered[V any] struct {
	value V
	until time.Time
}

// newMemo returns a memo that asks so many questions at a time.
func newMemo[V any](open int) *memo[V] {
	return &memo[V]{open: make(chan struct{}, open), waiting: make(chan struct{}, queued*open), entries: map[key]remembered[V]{}}
}

// get returns the answer to k, asked anew unless it is remembered. What is asked ends after askTimeout, whoever waits for it.
func (m *memo[V]) get(ctx context.Context, k key, ask func(context.Context) (V, time.Duration, error)) (V, error) {
	if v, ok := m.recall(k); ok {
		return v, nil
	}
	done := m.flight.DoChan(string(k[:]), func() (any, error) {
		v, ttl, err := m.ask(context.WithoutCancel(ctx), ask)
		if err == nil {
			m.remember(k, v, ttl)
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

// ask asks when it is its turn.
func (m *memo[V]) ask(ctx context.Context, ask func(context.Context) (V, time.Duration, error)) (v V, ttl time.Duration, err error) {
	select {
	case m.waiting <- struct{}{}:
		defer func() { <-m.waiting }()
	default:
		return v, 0, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case m.open <- struct{}{}:
		defer func() { <-m.open }()
	case <-ctx.Done():
		return v, 0, fmt.Errorf("waiting to ask the API server: %w", ctx.Err())
	}
	return ask(ctx)
}

func (m *memo[V]) recall(k key) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok || !time.Now().Before(e.until) {
		return v, false
	}
	return e.value, true
}

// remember drops what is out of date. If too much is left it drops everything: forgetting costs a question.
func (m *memo[V]) remember(k key, v V, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(m.entries, func(_ key, e remembered[V]) bool { return !now.Before(e.until) })
	if len(m.entries) >= maxMemo {
		clear(m.entries)
	}
	m.entries[k] = remembered[V]{value: v, until: now.Add(ttl)}
}
