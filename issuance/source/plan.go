package source

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// State is all that a plan depends on.
type State struct {
	Source *Source
	GVK    schema.GroupVersionKind
	// Certificates are those of an entry's name, and those that the source controls, by name.
	Certificates map[string]*cmapi.Certificate
	// Taken tells what stands in the way of each Secret that no Certificate may be made for, or changed to.
	Taken map[string]string
	// Manager is the field manager of this kind's Certificates, Extra the annotations that are copied.
	Manager string
	Extra   []string
}

// Action is one thing to be done about one Certificate: Create, Update, Delete or Refuse.
type Action interface{ name() string }

// Create makes a Certificate where there is none.
type Create struct{ Certificate *cmapi.Certificate }

// Update writes Certificate, which has the version of the one that was seen. Changed names what differs.
type Update struct {
	Certificate *cmapi.Certificate
	Changed     []string
}

// Delete removes exactly the Certificate that was seen.
type Delete struct{ Certificate *cmapi.Certificate }

// Refuse leaves everything as it is and says why.
type Refuse struct {
	Name string
	Problem
}

func (a Create) name() string { return a.Certificate.Name }
func (a Update) name() string { return a.Certificate.Name }
func (a Delete) name() string { return a.Certificate.Name }
func (a Refuse) name() string { return a.Name }

// plan decides what has to be done for a source, by name of the Certificate.
//
//	the source asks │ entry │ Certificate          │ action
//	no              │   -   │ any                  │ none
//	yes             │  yes  │ none                 │ Create, or Refuse where a Secret is in the way
//	yes             │  yes  │ somebody else's      │ none where it serves as well, else Refuse
//	yes             │  yes  │ ours                 │ Update where it differs
//	yes             │  no   │ ours, Secret named   │ none: the entry can't be followed
//	yes             │  no   │ ours                 │ Delete
func plan(s State) []Action {
	if s.Source.Wish == nil {
		return nil
	}
	var out []Action
	for _, e := range s.Source.Entries {
		if a := planEntry(s, e); a != nil {
			out = append(out, a)
		}
	}
	for name, c := range s.Certificates {
		if controls(s.Source, c) && !s.Source.Names[name] && !s.Source.Names[c.Spec.SecretName] && c.DeletionTimestamp == nil {
			out = append(out, Delete{c})
		}
	}
	slices.SortFunc(out, func(a, b Action) int { return cmp.Compare(a.name(), b.name()) })
	return out
}

func planEntry(s State, e Entry) Action {
	want := certificateFor(s.Source, s.GVK, e)
	have := s.Certificates[e.SecretName]
	switch {
	case s.Taken[e.SecretName] != "" && (have == nil || controls(s.Source, have)):
		return Refuse{e.SecretName, Problem{ReasonSecretConflict,
			fmt.Sprintf("no Certificate is made for Secret %s: %s; choose another secretName, or delete the Secret if nobody needs it", e.SecretName, s.Taken[e.SecretName])}}
	case have == nil:
		return Create{want}
	case have.DeletionTimestamp != nil: // its end brings us back
		return nil
	case !controls(s.Source, have) && serves(have, want): // Ingresses that share a Secret, one of which has made it
		return nil
	case !controls(s.Source, have):
		return Refuse{e.SecretName, Problem{ReasonCertificateConflict,
			fmt.Sprintf("Certificate %s stays as it is: it %s, not to this %s", e.SecretName, belonging(have), s.Source.Kind)}}
	}
	if merged, changed := merge(have, want, s.Extra, ownedBy(s.Manager, have.ManagedFields)); merged != nil {
		return Update{merged, changed}
	}
	return nil
}

func controls(s *Source, c *cmapi.Certificate) bool {
	ref := metav1.GetControllerOfNoCopy(c)
	return ref != nil && ref.UID == s.UID
}

// serves tells whether a Certificate of somebody else's fills the Secret that is wanted, for all its names, from the same issuer.
func serves(have, want *cmapi.Certificate) bool {
	within := func(some, all []string) bool { return pki.SameSet(all, slices.Concat(all, some)) }
	return have.Spec.SecretName == want.Spec.SecretName && pki.SameIssuer(have.Spec.IssuerRef, want.Spec.IssuerRef) &&
		within(want.Spec.DNSNames, have.Spec.DNSNames) && within(want.Spec.IPAddresses, have.Spec.IPAddresses)
}

func belonging(c *cmapi.Certificate) string {
	if ref := metav1.GetControllerOfNoCopy(c); ref != nil {
		return fmt.Sprintf("belongs to %s %s", ref.Kind, ref.Name)
	}
	return "belongs to whoever made it by hand"
}

// writes tells whether a plan changes anything.
func writes(todo []Action) bool {
	return slices.ContainsFunc(todo, func(a Action) bool { _, refuse := a.(Refuse); return !refuse })
}
