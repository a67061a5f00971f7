package trust

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// settle is how long the memory of a write outweighs a cache that does not show it. Normally its watch event ends that in
// milliseconds.
const settle = 30 * time.Second

// memory remembers the targets this process has written until the cache shows them, so that a cache that lags never causes
// a second write. The zero value is empty.
type memory struct {
	mu sync.Mutex
	m  map[types.NamespacedName]written
}

type written struct {
	found   Found
	version uint64
	gone    bool // deleted by us; found is what it was
	at      time.Time
}

func (m *memory) remember(key types.NamespacedName, f Found, gone bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = map[types.NamespacedName]written{}
	}
	m.m[key] = written{found: f, version: shared.Version(f.Version), gone: gone, at: now}
}

// newest returns the newer of what the cache has and what was written; behind means that the cache has not caught up.
func (m *memory) newest(key types.NamespacedName, cached Found, exists bool, now time.Time) (_ Found, _, behind bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.m[key]
	if !ok {
		return cached, exists, false
	}
	caughtUp := exists && shared.Version(cached.Version) >= w.version
	if w.gone {
		caughtUp = !exists || cached.UID != w.found.UID
	}
	if caughtUp || now.Sub(w.at) > settle {
		delete(m.m, key)
		return cached, exists, false
	}
	return w.found, !w.gone, true
}

// echo tells whether a watch event shows nothing newer than the own write, and forgets writes that the event ends.
func (m *memory) echo(obj metav1.Object, deleted bool) bool {
	key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.m[key]
	if !ok {
		return false
	}
	version := shared.Version(obj.GetResourceVersion())
	switch {
	case w.gone && obj.GetUID() == w.found.UID:
		if deleted {
			delete(m.m, key)
		}
		return true
	case !w.gone && !deleted && version <= w.version:
		if version == w.version {
			delete(m.m, key)
		}
		return true
	}
	delete(m.m, key)
	return false
}

// forget drops what is remembered of the targets of a Bundle that is gone.
func (m *memory) forget(bundle string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.m {
		if key.Name == bundle {
			delete(m.m, key)
		}
	}
}

// memo is what is known of one Bundle from its last reconciliation. Only that Bundle's worker touches it.
type memo struct {
	uid        types.UID
	generation int64
	versions   map[sourceRef]uint64 // of the sources that pool or refusal was made from; 0 is absent
	refusal    *Refusal             // what came of them, if no pool
	until      time.Time            // when time alone changes the outcome; zero if it does not
	pool       Pool                 // the last one that could be made

	before []Certificate // what pool took the place of; nil if unknown or reported

	last     pass // what the targets were last held against
	complete bool // and this has been done in every namespace
	places   places

	statusVersion string             // version that the own status write gave the Bundle
	status        []metav1.Condition // what it wrote
}

// covers tells whether pool or refusal still hold: same spec, no source newer than the one read, no certificate expired
// since. A source that was read, and that the cache does not have, may be gone: that is confirmed by a live read.
func (m *memo) covers(uid types.UID, generation int64, versions map[sourceRef]uint64, now time.Time) bool {
	if m.uid != uid || m.generation != generation || len(m.versions) != len(versions) {
		return false
	}
	for ref, v := range versions {
		read, known := m.versions[ref]
		if !known || read < v || v == 0 && read > 0 {
			return false
		}
	}
	return m.until.IsZero() || !now.After(m.until)
}

// news has the namespaces in which something has happened, by Bundle, until a reconciliation takes them. The zero value is empty.
type news struct {
	mu sync.Mutex
	m  map[string]map[string]bool // guarded by mu
}

func (n *news) add(bundle, namespace string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = map[string]map[string]bool{}
	}
	if n.m[bundle] == nil {
		n.m[bundle] = map[string]bool{}
	}
	n.m[bundle][namespace] = true
}

func (n *news) take(bundle string) map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.m[bundle]
	delete(n.m, bundle)
	return taken
}
