package source

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownedBy returns a function that tells whether a field manager owns a field, or a field within it, as managedFields have it. An
// object without any, as caches keep them, may be owned in every field: who writes because of it looks at the live one first.
func ownedBy(manager string, entries []metav1.ManagedFieldsEntry) func(path ...string) bool {
	if len(entries) == 0 {
		return func(...string) bool { return true }
	}
	var sets []map[string]json.RawMessage
	for _, e := range entries {
		var set map[string]json.RawMessage
		if e.Manager == manager && e.Subresource == "" && e.FieldsV1 != nil && json.Unmarshal(e.FieldsV1.GetRawBytes(), &set) == nil {
			sets = append(sets, set)
		}
	}
	return func(path ...string) bool {
		for _, set := range sets {
			if has(set, path) {
				return true
			}
		}
		return false
	}
}

func has(set map[string]json.RawMessage, path []string) bool {
	field, ok := set["f:"+path[0]]
	if !ok || len(path) == 1 {
		return ok
	}
	var inner map[string]json.RawMessage
	return json.Unmarshal(field, &inner) == nil && has(inner, path[1:])
}
