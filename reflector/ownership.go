package reflector

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clockSlack is how much older than our own write another manager's entry has to be to count as before it: entries have the
// grain of a second and may come from API servers whose clocks differ.
const clockSlack = time.Minute

// fieldSet is what a FieldsV1 says, as far as it matters here.
type fieldSet struct {
	keys       []string // owned keys of the payload, named as contentHash does
	stringData bool     // some of stringData is owned
	foreign    bool     // something is owned that we never write
}

// fieldSets remembers what FieldsV1 texts say: the mirrors of a source all have the same few.
var fieldSets = struct {
	sync.Mutex
	m map[string]fieldSet
}{m: map[string]fieldSet{}}

const maxFieldSets, maxFieldSetBytes = 512, 4096

// fieldSetOf reads a FieldsV1; ok is false if it can't be read.
func fieldSetOf(fields *metav1.FieldsV1) (set fieldSet, ok bool) {
	raw := fields.GetRawString()
	fieldSets.Lock()
	defer fieldSets.Unlock()
	if set, ok = fieldSets.m[raw]; ok {
		return set, true
	}
	set, err := parseFieldSet([]byte(raw))
	if err != nil {
		return fieldSet{}, false
	}
	if len(raw) > maxFieldSetBytes {
		return set, true
	}
	if len(fieldSets.m) >= maxFieldSets {
		clear(fieldSets.m)
	}
	fieldSets.m[strings.Clone(raw)] = set
	return set, true
}

// parseFieldSet reads the text of a FieldsV1.
func parseFieldSet(raw []byte) (set fieldSet, err error) {
	var fields map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return set, err
	}
	for field, members := range fields {
		switch field {
		case "f:data":
			set.keys = append(set.keys, keysUnder("data/", members)...)
		case "f:binaryData":
			set.keys = append(set.keys, keysUnder("binaryData/", members)...)
		case "f:type":
		case "f:metadata":
			set.foreign = set.foreign || len(members) != 1 || !ownAnnotations(members["f:annotations"])
		default:
			set.foreign = true
			set.stringData = set.stringData || field == "f:stringData" && len(members) > 0
		}
	}
	return set, nil
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
		set, ok := fieldSetOf(e.FieldsV1)
		if !ok {
			return false
		}
		if e != ours && (len(set.keys) > 0 || set.stringData) && !before(e, ours) {
			return false
		}
		all = append(all, set.keys...)
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
	set, ok := fieldSetOf(entries[0].FieldsV1)
	return ok && !set.foreign
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

// keysUnder names the owned keys of one map as contentHash does.
func keysUnder(prefix string, members map[string]json.RawMessage) []string {
	var keys []string
	for k := range members {
		if name, ok := fieldName(k); ok {
			keys = append(keys, prefix+name)
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
