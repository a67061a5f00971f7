package trust

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Desired is what every selected namespace's target must be.
type Desired struct {
	Key  string // data key
	Hash string
}

// Namespace is a namespace that is not being deleted.
type Namespace struct {
	Name     string
	Selected bool
}

// Found is what the metadata of an existing ConfigMap of the Bundle's name tells.
type Found struct {
	UID      types.UID
	Version  string
	Owner    types.UID // the controller's; empty if it has none
	Label    string    // value of LabelBundle
	Hash     string    // value of AnnotationHash
	Keys     []string  // data keys owned by FieldManager, sorted
	Managed  bool      // FieldManager has an entry
	Writer   string    // the field manager that has written last, if it is another; empty if unknown
	Deleting bool
}

// State is all that plan looks at.
type State struct {
	Bundle     Owner
	Refused    bool     // the Bundle cannot be published now: nothing changes
	Want       *Desired // nil: the Bundle has no target
	Namespaces []Namespace
	Found      map[string]Found     // by namespace
	Pauses     map[string]time.Time // by namespace: until when no target is written there
	Now        time.Time
}

// Action is what happens to the target of one namespace: Apply, Hold, Clean, Keep or Refuse.
type Action interface{ namespace() string }

// Apply writes the target. An empty Version means that there is none: the write must create it.
type Apply struct {
	Namespace, Version string
	UID                types.UID
	Drift              bool // the target had been written with this very content and someone has changed it since
}

// Hold puts an Apply off: the last one failed, or somebody undoes it again and again.
type Hold struct {
	Namespace string
	Until     time.Time
}

// Clean takes back what the Bundle wrote, and the ConfigMap with it if nothing else is in there.
type Clean struct {
	Namespace, Version string
	UID                types.UID
}

// Keep leaves a target that is as it should be.
type Keep struct{ Namespace string }

// Refuse leaves a ConfigMap alone that belongs to someone else.
type Refuse struct{ Namespace string }

func (a Apply) namespace() string  { return a.Namespace }
func (a Hold) namespace() string   { return a.Namespace }
func (a Clean) namespace() string  { return a.Namespace }
func (a Keep) namespace() string   { return a.Namespace }
func (a Refuse) namespace() string { return a.Namespace }

// plan decides for each namespace, in the order given:
//
//	selected | ConfigMap found                              | action
//	yes      | none                                         | Apply, must create
//	yes      | being deleted                                | Keep: its end is an event
//	yes      | not ours, see ours                           | Refuse
//	yes      | ours and not as it should be, see fits       | Apply at its version
//	yes      | ours and as it should be                     | Keep
//	no       | controlled by this Bundle, with our fields   | Clean
//	no       | any other                                    | none
//
// During a pause of the namespace a Hold takes the place of Apply.
func plan(s State) []Action {
	if s.Refused {
		return nil
	}
	var todo []Action
	for _, ns := range s.Namespaces {
		found, exists := s.Found[ns.Name]
		a := decide(s, ns, found, exists)
		if until := s.Pauses[ns.Name]; s.Now.Before(until) {
			if _, ok := a.(Apply); ok {
				a = Hold{Namespace: ns.Name, Until: until}
			}
		}
		if a != nil {
			todo = append(todo, a)
		}
	}
	return todo
}

func decide(s State, ns Namespace, f Found, exists bool) Action {
	wanted := s.Want != nil && ns.Selected
	switch {
	case wanted && !exists:
		return Apply{Namespace: ns.Name}
	case wanted && f.Deleting:
		return Keep{Namespace: ns.Name}
	case wanted && !f.ours(s.Bundle):
		return Refuse{Namespace: ns.Name}
	case wanted && !f.fits(s.Bundle, *s.Want):
		return Apply{Namespace: ns.Name, Version: f.Version, UID: f.UID, Drift: f.drifted(s.Bundle, *s.Want)}
	case wanted:
		return Keep{Namespace: ns.Name}
	case exists && !f.Deleting && f.Owner == s.Bundle.UID && f.Managed:
		return Clean{Namespace: ns.Name, Version: f.Version, UID: f.UID}
	}
	return nil
}

// ours tells whether the Bundle may write the ConfigMap: it made it, or its owner put LabelBundle on it. A target left by
// an earlier Bundle of this name counts as ours.
func (f Found) ours(b Owner) bool {
	return f.Owner == b.UID || f.Label == b.Name || f.Managed
}

// fits tells whether the ConfigMap needs no write. Any client that changes a data key takes its ownership away from
// FieldManager: that is how a foreign edit shows in metadata alone (trust-manager's rule).
func (f Found) fits(b Owner, want Desired) bool {
	return f.Owner == b.UID && f.Label == b.Name && f.Hash == want.Hash && slices.Equal(f.Keys, []string{want.Key})
}

// drifted tells whether a target that does not fit had this very content and was edited by someone. A target of a deleted
// Bundle of the same name names another owner: that is no drift.
func (f Found) drifted(b Owner, want Desired) bool {
	return f.Hash == want.Hash && (f.Owner == b.UID || f.Owner == "")
}
