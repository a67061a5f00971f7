package inject

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// memo is what is known of one target from its last reconciliation. Only that target's worker touches it.
type memo struct {
	target types.UID
	// version is the target's as read or, if we wrote it, as written.
	version string
	// source is what its CA was read from, and sourceVersion the version that was read; empty if it was not there.
	source        Ref
	sourceVersion string
	until         time.Time // when time alone calls for another decision; zero for never
	refusal       *Refusal
	state         string // as the metrics count it
}

// covers tells whether nothing has changed that a decision depends on. The cache may lag behind what was read or written.
// A source that was not there is never covered: its absence is confirmed by a live read.
func (m *memo) covers(target types.UID, version string, src source, now time.Time) bool {
	if m.target != target || m.version == "" || newer(version, m.version) {
		return false
	}
	if m.source != src.Ref || m.sourceVersion == "" || src.Version == "" {
		return false
	}
	if m.sourceVersion != src.Version && (src.Ref.Kind != fromSecret || newer(src.Version, m.sourceVersion)) {
		return false
	}
	return m.until.IsZero() || !now.After(m.until)
}

func newer(a, b string) bool { return shared.Version(a) > shared.Version(b) }

// wakes knows which targets an object feeds: the annotations' index, and from Certificates on to their Secrets.
type wakes struct {
	mu      sync.Mutex
	feeds   map[Ref]map[string]bool // targets by what feeds them; guarded by mu
	sources map[string][]Ref        // the same the other way round; guarded by mu
}

// set replaces what feeds a target. It is called before a source is read: what happens to it after that is an event.
func (w *wakes) set(target string, sources ...Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Equal(w.sources[target], sources) {
		return
	}
	for _, ref := range w.sources[target] {
		delete(w.feeds[ref], target)
		if len(w.feeds[ref]) == 0 {
			delete(w.feeds, ref)
		}
	}
	delete(w.sources, target)
	if len(sources) == 0 {
		return
	}
	if w.feeds == nil {
		w.feeds, w.sources = map[Ref]map[string]bool{}, map[string][]Ref{}
	}
	w.sources[target] = sources
	for _, ref := range sources {
		if w.feeds[ref] == nil {
			w.feeds[ref] = map[string]bool{}
		}
		w.feeds[ref][target] = true
	}
}

// targets returns what an object feeds.
func (w *wakes) targets(ref Ref) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for target := range w.feeds[ref] {
		out = append(out, target)
	}
	return out
}
