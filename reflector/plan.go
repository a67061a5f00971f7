package reflector

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// State is what has been seen of one source.
type State struct {
	Key types.NamespacedName
	// Source is nil when there is none.
	Source *Source
	// Content is what the source holds at Source.Version; zero when not read yet.
	Content Content
	// Places are the namespaces, by name.
	Places map[string]Place
	// Objects are the mirrors that name the source, and whatever has its name in a namespace that is to have one; sorted.
	Objects []Object
}

// Place is what a namespace means to a source.
type Place struct {
	Namespace string
	// Allowed: the source may be copied there. Auto: and wants to be, unasked.
	Allowed, Auto bool
	// Closed: automatic mirrors need the consent of this namespace, which it has not given.
	Closed bool
	// Declined: an absent automatic mirror stays absent.
	Declined    bool
	Terminating bool
	// Ignored: direct mirrors there are not served.
	Ignored bool
}

// Object is what metadata tells about a mirror, or a stranger in its place.
type Object struct {
	Key     types.NamespacedName
	UID     types.UID
	Version string // resourceVersion
	// Reflects is zero for an object that is no mirror.
	Reflects types.NamespacedName
	// Auto is what auto-reflects says.
	Auto             bool
	ReflectedVersion string
	// Hash is what it holds, as a contentHash; empty when not known.
	Hash string
	// Suspect says that nothing proves its data to be what Hash says.
	Suspect     bool
	Terminating bool
	// Sole says that nothing in it is anyone's but ours.
	Sole bool
}

// Reason says why something is refused. Its value is the reason of the Event that reports it.
type Reason string

// The reasons. InvalidPattern to RefusedType freeze a source; the others concern one place or mirror.
const (
	InvalidPattern   Reason = "InvalidPattern"
	InvalidSelector  Reason = "InvalidSelector"
	InvalidValue     Reason = "InvalidValue"
	InvalidReference Reason = "InvalidReference"
	RefusedType      Reason = "RefusedType"

	Conflict          Reason = "Conflict"
	NamespaceExcluded Reason = "NamespaceExcluded"
	Declined          Reason = "Declined"
	NotPermitted      Reason = "NotPermitted"
	SourceNotFound    Reason = "SourceNotFound"
)

// Action is one decision: Create, Update, Delete, Keep or Refuse.
type Action interface{ action() }

type (
	// Create makes an automatic mirror where there is nothing.
	Create struct{ Namespace string }
	// Update writes the source's payload into a mirror; with Compare only if a live read shows that it differs.
	Update struct {
		Mirror  Object
		Compare bool
	}
	// Delete removes an automatic mirror.
	Delete struct{ Mirror Object }
	// Keep leaves a mirror alone. Synced says that it holds what the source holds.
	Keep struct {
		Mirror types.NamespacedName
		Synced bool
	}
	// Refuse leaves things alone for a reason that somebody has to hear. At is the object concerned, or where it would be;
	// UID is empty where there is none. Note is for a Problem of the source, At being the source.
	Refuse struct {
		Reason Reason
		At     types.NamespacedName
		UID    types.UID
		Note   string
	}
)

func (Create) action() {}
func (Update) action() {}
func (Delete) action() {}
func (Keep) action()   {}
func (Refuse) action() {}

// plan decides about every mirror that a source has or should have. An Update that is planned while Content is unknown may
// turn into a Keep once it is.
func plan(s State) []Action {
	if s.Source == nil {
		return orphaned(s)
	}
	if todo := frozen(s); todo != nil {
		return todo
	}
	var todo []Action
	taken := map[string]bool{}
	for _, o := range s.Objects {
		if a := decide(s, o); a != nil {
			todo = append(todo, a)
		}
		if o.Key.Name == s.Key.Name {
			taken[o.Key.Namespace] = true
		}
	}
	return append(todo, missing(s, taken)...)
}

// orphaned: automatic mirrors go with their source; direct ones keep what they were given.
func orphaned(s State) []Action {
	var todo []Action
	for _, o := range s.Objects {
		switch {
		case o.Reflects != s.Key || s.Places[o.Key.Namespace].Ignored && !owned(s.Key, o):
		case !owned(s.Key, o):
			todo = append(todo, Refuse{Reason: SourceNotFound, At: o.Key, UID: o.UID})
		case o.Terminating:
			todo = append(todo, Keep{Mirror: o.Key})
		default:
			todo = append(todo, Delete{Mirror: o})
		}
	}
	return todo
}

// frozen: a source that can't be followed or may not be copied changes nothing, not even what was delivered before.
func frozen(s State) []Action {
	problems := s.Source.Problems
	if refused(s.Content.Type) {
		problems = append(problems[:len(problems):len(problems)], Problem{
			Reason: RefusedType,
			Note:   "Secrets of type " + string(s.Content.Type) + " are never mirrored; remove the reflection annotations, or keep the data in a Secret of another type",
		})
	}
	if len(problems) == 0 || !speaking(s) {
		return nil
	}
	var todo []Action
	for _, p := range problems {
		todo = append(todo, Refuse{Reason: p.Reason, At: s.Key, UID: s.Source.UID, Note: p.Note})
	}
	for _, o := range s.Objects {
		if o.Reflects == s.Key {
			todo = append(todo, Keep{Mirror: o.Key})
		}
	}
	return todo
}

// speaking: a Secret of a refused type that never asked to be mirrored has nothing to hear.
func speaking(s State) bool {
	return s.Source.Allowed || len(s.Source.Problems) > 0
}

// decide is about an object that is there; nil when it does not concern this source.
func decide(s State, o Object) Action {
	place, known := s.Places[o.Key.Namespace]
	switch {
	case o.Terminating || !known || place.Terminating:
		return Keep{Mirror: o.Key} // its end, or the namespace's appearance, is an event of its own
	case owned(s.Key, o):
		return automatic(s, place, o)
	case o.Reflects == s.Key:
		return direct(s, place, o)
	case wanted(s, place):
		return Refuse{Reason: Conflict, At: o.Key, UID: o.UID}
	}
	return nil
}

// wanted tells whether a place is to have an automatic mirror.
func wanted(s State, p Place) bool {
	return s.Source.Auto && p.Allowed && p.Auto && p.Namespace != s.Key.Namespace
}

// owned tells whether an object is an automatic mirror of a source: the only thing that is ever deleted.
func owned(source types.NamespacedName, o Object) bool {
	return o.Reflects == source && o.Auto && o.Key.Name == source.Name && o.Key.Namespace != source.Namespace
}

func automatic(s State, p Place, o Object) Action {
	switch {
	case !wanted(s, p):
		return Delete{Mirror: o}
	case p.Closed:
		// Another tool, or an earlier consent, put it there. Taking it away could break what runs on it.
		return Refuse{Reason: NamespaceExcluded, At: o.Key, UID: o.UID}
	}
	return refresh(s, o)
}

func direct(s State, p Place, o Object) Action {
	switch {
	case p.Ignored:
		return nil
	case !s.Source.Allowed || !p.Allowed:
		return Refuse{Reason: NotPermitted, At: o.Key, UID: o.UID}
	}
	return refresh(s, o)
}

// refresh decides whether a mirror that is permitted has to be written.
func refresh(s State, o Object) Action {
	switch {
	case o.ReflectedVersion == "":
		return Update{Mirror: o} // never filled, or somebody asks for it
	case o.Suspect:
		return Update{Mirror: o, Compare: true}
	case o.ReflectedVersion == s.Source.Version, o.Hash != "" && o.Hash == s.Content.Hash:
		return Keep{Mirror: o.Key, Synced: true}
	}
	return Update{Mirror: o, Compare: o.Hash == ""}
}

// missing is about the places that have nothing of the source's name.
func missing(s State, taken map[string]bool) []Action {
	if !s.Source.Auto {
		return nil
	}
	var todo []Action
	for _, name := range slices.Sorted(maps.Keys(s.Places)) {
		p := s.Places[name]
		at := types.NamespacedName{Namespace: name, Name: s.Key.Name}
		switch {
		case taken[name] || p.Terminating || !wanted(s, p):
		case p.Closed:
			todo = append(todo, Refuse{Reason: NamespaceExcluded, At: at})
		case p.Declined:
			todo = append(todo, Refuse{Reason: Declined, At: at})
		default:
			todo = append(todo, Create{Namespace: name})
		}
	}
	return todo
}

// writes tells whether a plan holds a write.
func writes(todo []Action) bool {
	for _, a := range todo {
		switch a.(type) {
		case Create, Update, Delete:
			return true
		}
	}
	return false
}

// placeOf judges a namespace for a source. own is the daemon's namespace. An error means that a pattern of the source could
// not be evaluated.
func placeOf(s *Source, ns metav1.Object, own string, ignored globs) (Place, error) {
	name, l := ns.GetName(), ns.GetLabels()
	p := Place{
		Namespace:   name,
		Closed:      closed(name, own) && l[LabelAccept] != "true",
		Declined:    declines(ns, s.Key.Name),
		Terminating: ns.GetDeletionTimestamp() != nil,
		Ignored:     ignored.match(name),
	}
	if !s.Allowed || len(s.Problems) > 0 {
		return p, nil
	}
	var err error
	if p.Allowed, err = s.AllowedIn.contains(name, l); err != nil || !p.Allowed || !s.Auto {
		return p, err
	}
	p.Auto, err = s.AutoIn.contains(name, l)
	return p, err
}

// closed tells whether a namespace takes automatic mirrors only by consent: a Secret pushed there could reach the cluster's
// own components.
func closed(name, own string) bool {
	return strings.HasPrefix(name, "kube-") || name == own
}

func declines(ns metav1.Object, mirror string) bool {
	value, ok := ns.GetAnnotations()[AnnotationDecline]
	if !ok {
		return false
	}
	for _, name := range splitList(value) {
		if name == mirror || name == "*" {
			return true
		}
	}
	return false
}

// objectOf reads an object's metadata.
func objectOf(obj metav1.Object) Object {
	a := obj.GetAnnotations()
	o := Object{
		Key:         types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()},
		UID:         obj.GetUID(),
		Version:     obj.GetResourceVersion(),
		Terminating: obj.GetDeletionTimestamp() != nil,
	}
	ref, _, err := parseReflects(obj)
	if err != nil || ref.Name == "" {
		return o
	}
	o.Reflects = ref
	o.Auto, _ = parseBool(a[annotationAutoReflects])
	o.ReflectedVersion = strings.Trim(strings.TrimSpace(a[annotationReflectedVersion]), `"`)
	o.Hash = a[AnnotationHash]
	if o.Hash != "" {
		o.Suspect = !vouched(obj.GetManagedFields(), keysOf(o.Hash))
		o.Sole = sole(obj.GetManagedFields())
	}
	return o
}

// newer tells whether resourceVersion a is later than b: they are integers that count up.
func newer(a, b string) bool {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	return errA == nil && errB == nil && x > y
}
