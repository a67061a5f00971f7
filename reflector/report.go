package reflector

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons of Events beside those of a Refuse.
const (
	reasonReflected = "Reflected"
	reasonFailed    = "MirrorFailed"
)

// mostNamed is how many namespaces an Event lists by name.
const mostNamed = 8

// notice is one thing that somebody has to know, reported once for as long as it holds.
type notice struct {
	reason  Reason
	at      types.NamespacedName
	uid     types.UID
	message string
}

// report emits an Event for what is new, and moves the metrics.
func (r *Reconciler) report(s State, done []result) {
	now := tally(done)
	fresh, change := r.memory.report(s.Key, r.notices(s, done), now)
	countTargets(r.Kind, change)
	for _, n := range fresh {
		r.event(n.at, n.uid, corev1.EventTypeWarning, string(n.reason), n.message)
	}
	if s.Source != nil && wrote(done) {
		r.event(s.Key, s.Source.UID, corev1.EventTypeNormal, reasonReflected, summary(now, done))
		if now[failed] == 0 {
			if lag, ok := r.memory.lag(s.Source, r.now()); ok {
				metricLag.WithLabelValues(r.Kind).Observe(lag.Seconds())
			}
		}
	}
	if r.idle(s) {
		countTargets(r.Kind, negative(now))
		r.memory.forget(s.Key)
	}
}

func summary(now counts, done []result) string {
	text := fmt.Sprintf("reflected to %d of %d namespaces", now[synced], now.total())
	removed := 0
	for _, d := range done {
		if _, ok := d.Action.(Delete); ok && d.Wrote {
			removed++
		}
	}
	if removed > 0 {
		text += fmt.Sprintf(", removed from %d", removed)
	}
	return text
}

// idle tells whether nothing of a source is left to remember.
func (r *Reconciler) idle(s State) bool {
	if len(s.Objects) > 0 || r.memory.pending(s.Key) {
		return false
	}
	return s.Source == nil || !s.Source.Allowed && len(s.Source.Problems) == 0
}

func negative(c counts) counts {
	for i := range c {
		c[i] = -c[i]
	}
	return c
}

// event emits an Event on an object of the reconciler's kind.
func (r *Reconciler) event(at types.NamespacedName, uid types.UID, kind, reason, message string) {
	obj := r.metadata(at)
	obj.UID = uid
	r.Events.Event(obj, kind, reason, message)
}

// wrote tells whether any mirror was written or removed.
func wrote(done []result) bool {
	return slices.ContainsFunc(done, func(d result) bool { return d.Wrote })
}

// tally counts targets by state.
func tally(done []result) counts {
	var c counts
	for _, d := range done {
		switch a := d.Action.(type) {
		case Create, Update:
			if d.Err != nil {
				c[failed]++
			} else if !d.Void {
				c[synced]++
			}
		case Delete:
			if d.Err != nil {
				c[failed]++
			}
		case Keep:
			if a.Synced {
				c[synced]++
			}
		case Refuse:
			switch a.Reason {
			case Conflict:
				c[conflict]++
			case NamespaceExcluded, Declined, NotPermitted, SourceNotFound:
				c[denied]++
			}
		}
	}
	return c
}

// notices says what is wrong: problems on the object that has them, refusals of places in one notice each on the source, and
// on a direct mirror why it is not served.
func (r *Reconciler) notices(s State, done []result) []notice {
	var hold []notice
	places := map[Reason][]string{}
	failures := map[string][]string{}
	for _, d := range done {
		if d.Err != nil && !lostRace(d.Err) {
			cause := apiReason(d.Err)
			failures[cause] = append(failures[cause], namespaceOf(d.Action))
		}
		a, ok := d.Action.(Refuse)
		if !ok {
			continue
		}
		if a.Note != "" {
			hold = append(hold, notice{a.Reason, a.At, a.UID, a.Note})
			continue
		}
		if text := r.onMirror(s.Key, a.Reason); text != "" {
			hold = append(hold, notice{a.Reason, a.At, a.UID, text})
		}
		places[a.Reason] = append(places[a.Reason], a.At.Namespace)
	}
	if s.Source == nil {
		return hold
	}
	for reason, namespaces := range places {
		if text := r.onSource(s.Key, reason, enumerate(namespaces)); text != "" {
			hold = append(hold, notice{reason, s.Key, s.Source.UID, text})
		}
	}
	for cause, namespaces := range failures {
		hold = append(hold, notice{reasonFailed, s.Key, s.Source.UID, failure(cause, enumerate(namespaces))})
	}
	return hold
}

func (r *Reconciler) onMirror(source types.NamespacedName, reason Reason) string {
	switch reason {
	case SourceNotFound:
		return fmt.Sprintf("%s %s does not exist; create it or correct the annotation %s. The data here is left as it is", r.Kind, source, annotationReflects)
	case NotPermitted:
		return fmt.Sprintf("%s %s does not permit mirrors in this namespace; its owner can, by the annotations %s and %s. The data here is left as it is",
			r.Kind, source, annotationAllowed, annotationAllowedNames)
	}
	return ""
}

func (r *Reconciler) onSource(source types.NamespacedName, reason Reason, namespaces string) string {
	switch reason {
	case Conflict:
		return fmt.Sprintf("not mirrored to %s: a %s named %s that is not a mirror of this one is there; rename or delete it, or leave the namespace out in %s",
			namespaces, r.Kind, source.Name, annotationAutoNames)
	case NamespaceExcluded:
		return fmt.Sprintf("not mirrored to %s: system namespaces take mirrors only with the label %s=true on the namespace; set it, or leave the namespace out in %s",
			namespaces, LabelAccept, annotationAutoNames)
	case NotPermitted:
		return fmt.Sprintf("mirrors in %s ask for this %s and are not served; to permit them set %s and name the namespace in %s",
			namespaces, r.Kind, annotationAllowed, annotationAllowedNames)
	}
	return ""
}

func failure(cause, namespaces string) string {
	return fmt.Sprintf("mirroring to %s failed: %s", namespaces, cause)
}

// apiReason describes a failed write without quoting the object: the API's reason, and for Forbidden (a quota, an admission
// policy, a missing role) what it said.
func apiReason(err error) string {
	reason := string(apierrors.ReasonForError(err))
	switch {
	case terminal(err):
		return reason + "; the object there can't take this data (another type, or immutable): delete it or give it the source's type"
	case apierrors.IsForbidden(err):
		const most = 200
		text := err.Error()
		if at := strings.Index(text, " is forbidden: "); at >= 0 {
			text = text[at+len(" is forbidden: "):]
		}
		text, _, _ = strings.Cut(text, ", ") // a quota goes on with figures, which would make every attempt news
		return reason + ": " + text[:min(len(text), most)]
	case reason == "":
		return "the API server did not answer; it is tried again"
	}
	return reason + "; it is tried again"
}

func namespaceOf(a Action) string {
	switch a := a.(type) {
	case Create:
		return a.Namespace
	case Update:
		return a.Mirror.Key.Namespace
	case Delete:
		return a.Mirror.Key.Namespace
	}
	return ""
}

// enumerate lists names in order, the first few of them.
func enumerate(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	more := len(names) - mostNamed
	if more <= 0 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), more)
}
