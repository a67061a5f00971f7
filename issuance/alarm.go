package issuance

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// alarms brings Certificates back when time alone has something for them: a renewal, an expiry. A work queue could keep them, at ten
// times the memory for each, and would measure durations, which know nothing of a clock that was set or a machine that slept. These
// are times of day, and the clock is looked at every so often. It is a source of a controller; one time is kept for each key.
type alarms struct {
	now   func() time.Time
	every time.Duration // how long a clock that was set can go unnoticed

	mu   sync.Mutex
	at   map[types.NamespacedName]int64 // the time that counts, in nanoseconds; guarded by mu
	heap alarmHeap                      // all times that were set, outdated ones too; guarded by mu
	wake chan struct{}
}

type alarm struct {
	at  int64
	key types.NamespacedName
}

func newAlarms(now func() time.Time, every time.Duration) *alarms {
	return &alarms{now: now, every: every, at: map[types.NamespacedName]int64{}, wake: make(chan struct{}, 1)}
}

// set has a key brought back at a time, and at no other; zero for never.
func (a *alarms) set(key types.NamespacedName, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.IsZero() {
		delete(a.at, key)
		return
	}
	when := at.UnixNano()
	if was, ok := a.at[key]; ok && was == when {
		return
	}
	a.at[key] = when
	heap.Push(&a.heap, alarm{when, key})
	if len(a.heap) > 2*len(a.at)+64 { // mostly outdated
		a.heap = a.heap[:0]
		for key, when := range a.at {
			a.heap = append(a.heap, alarm{when, key})
		}
		heap.Init(&a.heap)
	}
	if a.heap[0].key == key {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// due takes out the keys whose time has come, and returns how long to wait before looking again.
func (a *alarms) due() (keys []types.NamespacedName, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now().UnixNano()
	for len(a.heap) > 0 {
		first := a.heap[0]
		if when, ok := a.at[first.key]; ok && when == first.at {
			if first.at > now {
				return keys, min(time.Duration(first.at-now), a.every)
			}
			keys = append(keys, first.key)
			delete(a.at, first.key)
		}
		heap.Pop(&a.heap)
	}
	return keys, a.every
}

// Start implements source.Source: it adds keys to the queue until ctx ends.
func (a *alarms) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			case <-a.wake:
			}
			keys, wait := a.due()
			for _, key := range keys {
				queue.Add(reconcile.Request{NamespacedName: key})
			}
			timer.Reset(wait)
		}
	}()
	return nil
}

// alarmHeap is a heap.Interface with the earliest time first.
type alarmHeap []alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h alarmHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *alarmHeap) Push(x any) { *h = append(*h, x.(alarm)) }

// Pop implements heap.Interface.
func (h *alarmHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
