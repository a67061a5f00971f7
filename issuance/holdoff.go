package issuance

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

const (
	holdOffFirst = 200 * time.Millisecond
	holdOffMost  = 5 * time.Minute
)

// holdOff keeps a Certificate back after work on it has failed, whatever wakes it: the events of the writes that did get through
// would else start the next attempt at once, with a new key and a new request each time. An edit of the spec ends the wait. The zero
// value is ready.
type holdOff struct {
	mu sync.Mutex
	m  map[types.NamespacedName]failures // guarded by mu
}

type failures struct {
	uid        types.UID
	generation int64
	n          int
	until      time.Time
}

// failed notes a failure and returns how many there have been in a row.
func (h *holdOff) failed(cert *cmapi.Certificate, now time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m == nil {
		h.m = map[types.NamespacedName]failures{}
	}
	key := keyOf(cert.Namespace, cert.Name)
	run := h.m[key]
	if run.uid != cert.UID || run.generation != cert.Generation {
		run = failures{uid: cert.UID, generation: cert.Generation}
	}
	run.n++
	run.until = now.Add(min(holdOffFirst<<min(run.n-1, 20), holdOffMost))
	h.m[key] = run
	return run.n
}

// forget ends the wait of a Certificate that got on, or is gone.
func (h *holdOff) forget(key types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.m, key)
}

// left returns how long a Certificate is kept back yet; zero if it is not. However the clock is set, that is no longer than the
// longest wait.
func (h *holdOff) left(cert *cmapi.Certificate, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	run := h.m[keyOf(cert.Namespace, cert.Name)]
	if run.uid != cert.UID || run.generation != cert.Generation {
		return 0
	}
	return min(max(run.until.Sub(now), 0), holdOffMost)
}
