package issuance

import (
	"sync"
	"time"
)

// written remembers the resourceVersions of our own writes until the cache has them: a decision on an older state than the one
// that we made ourselves would repeat it. Callers don't wait; the event that brings the cache up to date brings the key back.
type written struct {
	mu       sync.Mutex
	versions map[string]version // guarded by mu
	swept    time.Time          // guarded by mu
}

type version struct {
	resourceVersion string
	forget          time.Time
}

// writtenFor bounds how long a write is remembered whose object the cache never shows, because it was deleted at once.
const writtenFor = 5 * time.Second

// add remembers a write.
func (w *written) add(key, resourceVersion string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[string]version{}
	}
	w.versions[key] = version{resourceVersion, now.Add(writtenFor)}
	w.sweep(now)
}

// sweep forgets, from time to time, what nobody has asked for again.
func (w *written) sweep(now time.Time) {
	if now.Sub(w.swept) < writtenFor {
		return
	}
	w.swept = now
	for key, v := range w.versions {
		if now.After(v.forget) {
			delete(w.versions, key)
		}
	}
}

// held is newer than every resourceVersion.
const held = "99999999999999999999"

// hold makes every version of an object count as old until add or release: whoever holds it is about to write it.
func (w *written) hold(key string, now time.Time) { w.add(key, held, now) }

// release forgets an object.
func (w *written) release(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.versions, key)
}

// behind tells whether the cache's version of an object (empty: the cache has none) is older than our last write of it. The
// write stays remembered when the cache has it: somebody else may still decide on what was read before.
func (w *written) behind(key, cached string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.versions[key]
	return ok && now.Before(v.forget) && (cached == "" || newer(v.resourceVersion, cached))
}
