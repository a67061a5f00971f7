package inject

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// report remembers what was decided on, counts it and sends the Events of what has changed. Its error is why the target has to be
// looked at again.
func (r *Reconciler) report(o observed, done outcome) error {
	if done.Err != nil {
		failures.WithLabelValues(r.Kind.Kind).Inc()
		return done.Err
	}
	m := o.memo
	before := m.refusal
	m.target, m.version = o.Target.UID, done.Version
	m.source, m.sourceVersion = o.Source, o.Version
	m.until, m.refusal = done.Until, nil
	switch d := done.Decision.(type) {
	case Refuse:
		m.refusal = d.Refusal
		r.count(m, stateRefused)
		if before == nil || *before != *d.Refusal {
			r.event(o, corev1.EventTypeWarning, d.Refusal.Reason, d.Refusal.Message+". What was injected before stays")
		}
	case Keep:
		r.count(m, stateInjected)
	case Inject:
		r.count(m, stateInjected)
		writes.WithLabelValues(r.Kind.Kind).Inc()
		r.event(o, corev1.EventTypeNormal, reasonInjected, "Injected the CA of "+o.Ask.String())
	}
	return nil
}

func (r *Reconciler) event(o observed, kind, reason, message string) {
	if r.Events != nil {
		r.Events.Event(o.Target, kind, reason, shared.Shorten(message, 1000))
	}
}
