package reflector

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// settle is how long a write of ours outweighs a cache that does not show it. Past it the cache must have missed the object:
// created and deleted while the watch was down.
const settle = 30 * time.Second

// memory holds what this process knows of sources beyond the cache. All of it can be lost: it saves reads, repeated writes
// and repeated Events, and decides nothing by itself. A source's record goes with its last trace in the cluster.
type memory struct {
	mu sync.Mutex // guards of and the records; never held across a call to the API
	of map[types.NamespacedName]*trace
}

type trace struct {
	source *Source   // parsed at source.Version
	since  time.Time // when source.Version was first seen
	lagged bool      // the time from since to the last mirror has been measured

	content        Content // what the source held at contentVersion
	contentVersion string

	writes   map[types.NamespacedName]write    // what the cache may not show yet
	verified map[types.NamespacedName]verified // mirrors whose content is known although metadata does not prove it
	notices  map[notice]struct{}               // what has been reported and still holds
	counts   counts
}

// write is the outcome of our own write: the object as it was answered, or the one that was deleted.
type write struct {
	object  Object
	deleted bool
	at      time.Time
}

type verified struct{ version, hash string }

// trace returns what is known of a source, a new record if need be. The caller holds mu.
func (m *memory) trace(key types.NamespacedName) *trace {
	if m.of == nil {
		m.of = map[types.NamespacedName]*trace{}
	}
	rec := m.of[key]
	if rec == nil {
		rec = &trace{writes: map[types.NamespacedName]write{}, verified: map[types.NamespacedName]verified{}}
		m.of[key] = rec
	}
	return rec
}

// source parses an object's annotations, once per resourceVersion.
func (m *memory) source(obj metav1.Object, now time.Time) *Source {
	key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(key)
	if rec.source != nil && rec.source.Version == obj.GetResourceVersion() && rec.source.UID == obj.GetUID() {
		return rec.source
	}
	parsed := ParseSource(obj)
	if rec.source == nil || newer(parsed.Version, rec.source.Version) {
		rec.source, rec.since, rec.lagged = parsed, now, false
	}
	return parsed
}

// blame adds a problem to a parsed source, for as long as its version lasts.
func (m *memory) blame(s *Source, p Problem) *Source {
	m.mu.Lock()
	defer m.mu.Unlock()
	blamed := *s
	blamed.Problems = append(s.Problems[:len(s.Problems):len(s.Problems)], p)
	if rec := m.trace(s.Key); rec.source == s {
		rec.source = &blamed
	}
	return &blamed
}

// learn remembers what a source held at a version.
func (m *memory) learn(s *Source, c Content) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(s.Key)
	rec.content, rec.contentVersion = c, s.Version
}

// content returns what learn has heard about this version, or nothing.
func (m *memory) content(s *Source) Content {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec := m.trace(s.Key); rec.contentVersion == s.Version {
		return rec.content
	}
	return Content{}
}

// wrote remembers a mirror as the API answered our write, holding hash. What metadata can't prove about it is kept as verified.
func (m *memory) wrote(source types.NamespacedName, o Object, hash string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(source)
	delete(rec.verified, o.Key)
	if o.Suspect || o.Hash != hash {
		rec.verified[o.Key] = verified{o.Version, hash}
	}
	o.Suspect, o.Hash = false, hash
	rec.writes[o.Key] = write{object: o, at: now}
}

// removed remembers our own delete.
func (m *memory) removed(source types.NamespacedName, o Object, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(source)
	delete(rec.verified, o.Key)
	rec.writes[o.Key] = write{object: o, deleted: true, at: now}
}

// lost forgets a write after the API has said that the mirror is not there.
func (m *memory) lost(source, mirror types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.trace(source).writes, mirror)
}

// verify remembers that a live read found hash in a mirror.
func (m *memory) verify(source types.NamespacedName, o Object, hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace(source).verified[o.Key] = verified{o.Version, hash}
}

// overlay corrects what the cache shows of a source's mirrors by what this process knows, and forgets what the cache has
// caught up with.
func (m *memory) overlay(source types.NamespacedName, objects map[types.NamespacedName]Object, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.of[source]
	if rec == nil {
		return
	}
	for key, w := range rec.writes {
		have, cached := objects[key]
		switch {
		case now.Sub(w.at) > settle,
			cached && !w.deleted && !newer(w.object.Version, have.Version),
			w.deleted && have.UID != w.object.UID:
			delete(rec.writes, key)
		case w.deleted:
			delete(objects, key)
		default:
			objects[key] = w.object
		}
	}
	for key, v := range rec.verified {
		switch o, there := objects[key]; {
		case !there || newer(o.Version, v.version):
			delete(rec.verified, key)
		case o.Version == v.version:
			o.Suspect, o.Hash = false, v.hash
			objects[key] = o
		}
	}
}

// caughtUp tells the memory that the cache now shows a mirror of source, or its end. It returns true when that is but the
// echo of our own write.
func (m *memory) caughtUp(source types.NamespacedName, obj metav1.Object, gone bool) bool {
	key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.of[source]
	if rec == nil {
		return false
	}
	w, ok := rec.writes[key]
	switch version := obj.GetResourceVersion(); {
	case !ok:
		return false
	case gone:
		if w.object.UID == obj.GetUID() {
			delete(rec.writes, key)
		}
		return false
	case w.deleted || newer(w.object.Version, version):
		return false
	default:
		delete(rec.writes, key)
		return w.object.Version == version
	}
}

// pending tells whether the cache may still be behind our own writes.
func (m *memory) pending(source types.NamespacedName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.of[source]
	return rec != nil && len(rec.writes) > 0
}

// lag returns, once per version of a source, the time since that version was first seen.
func (m *memory) lag(s *Source, now time.Time) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(s.Key)
	if rec.lagged || rec.source == nil || rec.source.Version != s.Version {
		return 0, false
	}
	rec.lagged = true
	return now.Sub(rec.since), true
}

// report remembers what holds now of a source and returns which notices are new, and by how much the counts have changed.
func (m *memory) report(source types.NamespacedName, hold []notice, now counts) (fresh []notice, change counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.trace(source)
	holding := make(map[notice]struct{}, len(hold))
	for _, n := range hold {
		if _, old := rec.notices[n]; !old {
			fresh = append(fresh, n)
		}
		holding[n] = struct{}{}
	}
	for s := range now {
		change[s] = now[s] - rec.counts[s]
	}
	rec.notices, rec.counts = holding, now
	return fresh, change
}

// forget drops a source's record. The caller has reported its counts as zero.
func (m *memory) forget(source types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, source)
}
