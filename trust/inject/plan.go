package inject

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Slot is one caBundle of a target.
type Slot struct {
	Webhook string // name of the webhook, where a target has several; empty for the one caBundle of other kinds
	Bundle  []byte // PEM
}

// State is all that plan looks at.
type State struct {
	Refusal *Refusal // why there is no CA; nil if there is one
	Source  string   // for messages
	CA      []*x509.Certificate
	Slots   []Slot // as they are now
	Now     time.Time
}

// Decision is what happens to a target: Inject, Keep or Refuse.
type Decision interface{ decision() }

// Inject writes all Slots, changed or not: an apply that left one out would take it away. Until is when the first
// certificate in them expires.
type Inject struct {
	Slots []Slot
	Until time.Time
}

// Keep leaves a target that is as it should be until the first certificate expires; zero for never.
type Keep struct{ Until time.Time }

// Refuse leaves a target as it is and says why.
type Refuse struct{ Refusal *Refusal }

func (Inject) decision() {}
func (Keep) decision()   {}
func (Refuse) decision() {}

// plan decides, for each caBundle of a target:
//
//	present                                       | becomes
//	nothing, or nothing that can be read          | the CA
//	has all of the CA and nothing wrong with it   | itself, byte for byte
//	any other certificates                        | these and the CA, each once and unexpired
//
// A CA that cannot be had, or has expired, changes nothing.
func plan(s State) Decision {
	if s.Refusal != nil {
		return Refuse{s.Refusal}
	}
	ca := withoutExpired(s.CA, s.Now)
	if len(ca) == 0 {
		return Refuse{refuse(reasonSourceInvalid, "every certificate in %s has expired; renew it", s.Source)}
	}
	if len(s.Slots) == 0 {
		return Keep{}
	}
	limit := maxTargetBytes / len(s.Slots)
	if size := pemSize(ca); size > limit {
		return Refuse{refuse(reasonSourceInvalid, "%s has %d bytes of certificates, and each of the target's %d webhooks has room for %d; leave only the CA's own certificates in it",
			s.Source, size, len(s.Slots), limit)}
	}
	var until time.Time
	slots := slices.Clone(s.Slots)
	changed := false
	for i, slot := range s.Slots {
		if i > 0 && bytes.Equal(slot.Bundle, s.Slots[i-1].Bundle) { // as a rule they are all alike
			slots[i].Bundle = slots[i-1].Bundle
			continue
		}
		have, clean := parsePresent(slot.Bundle)
		want := merge(have, ca, limit, s.Now)
		if end := firstEnd(want); until.IsZero() || end.Before(until) {
			until = end
		}
		if !clean || !slices.EqualFunc(have, want, (*x509.Certificate).Equal) {
			slots[i].Bundle = pki.EncodeCertificates(want...)
			changed = true
		}
	}
	if !changed {
		return Keep{until}
	}
	return Inject{slots, until}
}
