package issuance

import (
	"unique"

	"github.com/trustglass/trustglass/issuance/pki"
)

// pairs are the labels or annotations of a Secret in little memory: thousands are kept, and a map of a few takes several times as
// much.
type pairs []keyValue

type keyValue struct{ key, value string }

// newPairs takes over labels or annotations, but for those that describe the leaf.
func newPairs(m map[string]string) pairs {
	n := 0
	for key := range m {
		if !pki.IsLeafAnnotation(key) {
			n++
		}
	}
	out := make(pairs, 0, n)
	for key, value := range m {
		switch {
		case pki.IsLeafAnnotation(key):
		case key == annCertificate || key == annKeystores: // no two Secrets have the same
			out = append(out, keyValue{shared(key), value})
		default:
			out = append(out, keyValue{shared(key), shared(value)})
		}
	}
	return out
}

// lookup returns the value of a key, and whether there is one.
func (p pairs) lookup(key string) (string, bool) {
	for i := range p {
		if p[i].key == key {
			return p[i].value, true
		}
	}
	return "", false
}

// get returns the value of a key, empty if there is none.
func (p pairs) get(key string) string {
	value, _ := p.lookup(key)
	return value
}

// holds tells whether all of want is there.
func (p pairs) holds(want map[string]string) bool {
	for key, value := range want {
		if have, ok := p.lookup(key); !ok || have != value {
			return false
		}
	}
	return true
}

// holds tells whether have holds all of want.
func holds(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// shared returns a string that shares its bytes with all equal ones that went through here: for what thousands of objects say alike.
func shared[S ~string](s S) S { return unique.Make(s).Value() }
