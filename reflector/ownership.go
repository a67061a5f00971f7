package reflector

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clockSlack is how much older than our own write another manager's entry has to be to count as before it: entries have the
// grain of a second and may come from API servers whose clocks differ.
const clockSlack = time.Minute

// dataFields are the parts of a FieldsV1 set that say who owns which key of the payload.
type dataFields struct {
	Data       map[string]json.RawMessage `json:"f:data"`
	BinaryData map[string]json.RawMessage `json:"f:binaryData"`
	StringData map[string]json.RawMessage `json:"f:stringData"`
}

// vouched tells whether managed fields prove that an object's data is what we last wrote, given the keysHash of that.
//
// A change of a value, and an added key, moves the key to the manager who made it, at the time of the change; a removed key
// has no owner (structured-merge-diff's rules). So the data is untouched when the keys owned by anyone are those we wrote,
// and whoever owns one beside us got it before our write, which set the whole map. False only means: can't tell.
func vouched(entries []metav1.ManagedFieldsEntry, keys string) bool {
	ours := ownEntry(entries)
	if ours == nil || ours.Time == nil || keys == "" {
		return false
	}
	var all []string
	for i := range entries {
		e := &entries[i]
		if e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		var f dataFields
		if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &f); err != nil {
			return false
		}
		owned := f.keys()
		if e != ours && (len(owned) > 0 || len(f.StringData) > 0) && !before(e, ours) {
			return false
		}
		all = append(all, owned...)
	}
	return keysHash(all) == keys
}

func ownEntry(entries []metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	for i := range entries {
		e := &entries[i]
		if e.Manager == FieldManager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == "" {
			return e
		}
	}
	return nil
}

func before(e, ours *metav1.ManagedFieldsEntry) bool {
	return e.Time != nil && e.Time.Add(clockSlack).Before(ours.Time.Time)
}

// sole tells whether managed fields prove that an object holds nothing but what we write: no label, finalizer, owner or
// annotation of a person, another tool or an admission webhook. It can then be written whole, from nothing but its identity.
func sole(entries []metav1.ManagedFieldsEntry) bool {
	if len(entries) != 1 || ownEntry(entries) == nil || entries[0].FieldsV1 == nil {
		return false
	}
	var fields map[string]map[string]json.RawMessage
	if err := json.Unmarshal(entries[0].FieldsV1.GetRawBytes(), &fields); err != nil {
		return false
	}
	for field, members := range fields {
		switch field {
		case "f:data", "f:binaryData", "f:type":
		case "f:metadata":
			if len(members) != 1 || !ownAnnotations(members["f:annotations"]) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func ownAnnotations(raw json.RawMessage) bool {
	var annotations map[string]json.RawMessage
	if err := json.Unmarshal(raw, &annotations); err != nil {
		return false
	}
	for k := range annotations {
		switch k {
		case ".", "f:" + annotationReflects, "f:" + annotationAutoReflects, "f:" + annotationReflectedVersion, "f:" + annotationReflectedAt, "f:" + AnnotationHash:
		default:
			return false
		}
	}
	return true
}

// keys names the owned keys as contentHash does.
func (f dataFields) keys() []string {
	var keys []string
	for k := range f.Data {
		if name, ok := fieldName(k); ok {
			keys = append(keys, "data/"+name)
		}
	}
	for k := range f.BinaryData {
		if name, ok := fieldName(k); ok {
			keys = append(keys, "binaryData/"+name)
		}
	}
	return keys
}

// fieldName reads "f:name"; "." stands for the map itself.
func fieldName(k string) (string, bool) {
	if len(k) > 2 && k[:2] == "f:" {
		return k[2:], true
	}
	return "", false
}
