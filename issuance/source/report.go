package source

import (
	"crypto/sha256"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// memory holds what the last Events on each source said, so that a problem is told once for as long as it lasts.
type memory struct {
	mu   sync.Mutex
	said map[types.NamespacedName]map[Problem]bool // guarded by mu; only sources with problems
}

// tell replaces what was said about a source and returns what is new, and how many more or fewer sources have problems now.
func (m *memory) tell(key types.NamespacedName, now []Problem) (fresh []Problem, change int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.said[key]
	said := make(map[Problem]bool, len(now))
	for _, p := range now {
		if !before[p] && !said[p] {
			fresh = append(fresh, p)
		}
		said[p] = true
	}
	if before != nil {
		change--
		delete(m.said, key)
	}
	if len(said) > 0 {
		change++
		if m.said == nil {
			m.said = map[types.NamespacedName]map[Problem]bool{}
		}
		m.said[key] = said
	}
	return fresh, change
}

// settled holds the versions at which a plan on the cache would write and one on live objects has found nothing to do. What somebody
// has added to a Certificate is told from what we have written by managedFields, which the cache does not keep: for the few sources
// that this is about, a digest here costs less than managedFields for all, and spares them a live look for each look.
type settled struct {
	mu       sync.Mutex
	versions map[types.NamespacedName][sha256.Size]byte // guarded by mu
}

func (s *settled) at(key types.NamespacedName, versions [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.versions[key]
	return ok && known == versions
}

func (s *settled) remember(key types.NamespacedName, versions [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.versions = map[types.NamespacedName][sha256.Size]byte{}
	}
	s.versions[key] = versions
}

func (s *settled) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.versions, key)
}

// report emits an Event for each write and each new problem, and moves the metrics.
func (r *Reconciler) report(s *observed, done []outcome) {
	problems := append([]Problem(nil), s.Source.Problems...)
	for _, d := range done {
		reason, verb := told(d.Action)
		switch refuse, refused := d.Action.(Refuse); {
		case refused:
			problems = append(problems, refuse.Problem)
		case outdated(d.Err):
		case apierrors.IsInvalid(d.Err):
			problems = append(problems, Problem{ReasonBadConfig, d.Err.Error()})
		case d.Err != nil && !terminal(d.Err):
			problems = append(problems, Problem{ReasonFailed, d.Err.Error()})
		case d.Err == nil:
			metricWrites.WithLabelValues(r.Kind, reason).Inc()
			r.Events.Eventf(s.object, corev1.EventTypeNormal, reason, "%s Certificate %q", verb, d.Action.name())
		}
	}
	fresh, change := r.said.tell(s.Source.Key, problems)
	metricRefused.WithLabelValues(r.Kind).Add(float64(change))
	for _, p := range fresh {
		r.Events.Event(s.object, corev1.EventTypeWarning, p.Reason, p.Message)
	}
}

// forget drops what is known of a source that is gone.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.settled.forget(key)
	_, change := r.said.tell(key, nil)
	metricRefused.WithLabelValues(r.Kind).Add(float64(change))
}

// told returns an action's reason and verb for an Event.
func told(a Action) (reason, verb string) {
	switch a.(type) {
	case Create:
		return ReasonCreated, "created"
	case Update:
		return ReasonUpdated, "updated"
	case Delete:
		return ReasonDeleted, "deleted"
	}
	return "", ""
}
