package reflector

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// entry is a managed fields entry some seconds after the start of time.
func entry(manager string, seconds int, fields string) metav1.ManagedFieldsEntry {
	f := &metav1.FieldsV1{}
	f.SetRawString(fields)
	at := metav1.NewTime(time.Unix(int64(seconds), 0))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at, FieldsType: "FieldsV1", FieldsV1: f}
}

func on(e metav1.ManagedFieldsEntry, edit func(*metav1.ManagedFieldsEntry)) metav1.ManagedFieldsEntry {
	edit(&e)
	return e
}

func TestVouched(t *testing.T) {
	const (
		both  = `{"f:data":{".":{},"f:a":{},"f:b":{}},"f:metadata":{"f:annotations":{"f:x":{}}},"f:type":{}}`
		onlyA = `{"f:data":{".":{},"f:a":{}}}`
		onlyB = `{"f:data":{"f:b":{}}}`
		meta  = `{"f:metadata":{"f:labels":{".":{},"f:x":{}}},"f:immutable":{}}`
	)
	type entries = []metav1.ManagedFieldsEntry
	ab := keysHash([]string{"data/a", "data/b"})
	for _, tc := range []struct {
		reason  string
		entries entries
		keys    string
		want    bool
	}{
		{"all keys ours", entries{entry(FieldManager, 100, both)}, ab, true},
		{"a label by somebody else, later", entries{entry(FieldManager, 100, both), entry("kubectl", 200, meta)}, ab, true},
		{"a value changed by somebody else", entries{entry(FieldManager, 100, onlyA), entry("kubectl", 200, onlyB)}, ab, false},
		{"a value changed within the grain of our write", entries{entry(FieldManager, 100, onlyA), entry("kubectl", 99, onlyB)}, ab, false},
		{"a value that already was right when we wrote it, long before", entries{entry(FieldManager, 500, onlyA), entry("kubectl", 100, onlyB)}, ab, true},
		{"a key added", entries{entry(FieldManager, 100, both), entry("kubectl", 200, `{"f:data":{"f:c":{}}}`)}, ab, false},
		{"a key removed", entries{entry(FieldManager, 100, onlyA)}, ab, false},
		{"a key of another kind of data", entries{entry(FieldManager, 100, `{"f:data":{"f:a":{}},"f:binaryData":{"f:b":{}}}`)}, ab, false},
		{"applied along with us, later", entries{entry(FieldManager, 100, both), on(entry("argo", 200, onlyA), func(e *metav1.ManagedFieldsEntry) { e.Operation = metav1.ManagedFieldsOperationApply })}, ab, false},
		{"stringData, whose keys are not told", entries{entry(FieldManager, 100, both), entry("argo", 200, `{"f:stringData":{"f:a":{}}}`)}, ab, false},
		{"no data at all", entries{entry(FieldManager, 100, `{"f:type":{}}`)}, keysHash(nil), true},
		{"nothing of ours", entries{entry("reflector", 100, both)}, ab, false},
		{"our name on an apply is not us", entries{on(entry(FieldManager, 100, both), func(e *metav1.ManagedFieldsEntry) { e.Operation = metav1.ManagedFieldsOperationApply })}, ab, false},
		{"no managed fields", nil, ab, false},
		{"no time", entries{on(entry(FieldManager, 100, both), func(e *metav1.ManagedFieldsEntry) { e.Time = nil })}, ab, false},
		{"a hash without keys", entries{entry(FieldManager, 100, `{}`)}, "", false},
		{"fields that are no JSON", entries{entry(FieldManager, 100, both), entry("x", 1, `{"f:data":[`)}, ab, false},
		{"fields that are of another form", entries{entry(FieldManager, 100, both), entry("x", 1, `{"f:data":[]}`)}, ab, false},
	} {
		if got := vouched(tc.entries, tc.keys); got != tc.want {
			t.Errorf("%s: %t", tc.reason, got)
		}
	}
}

func TestSole(t *testing.T) {
	const ours = `{"f:data":{".":{},"f:a":{}},"f:metadata":{"f:annotations":{".":{},"f:trustglass.io/reflected-hash":{},"f:reflector.v1.k8s.emberstack.com/reflects":{}}},"f:type":{}}`
	type entries = []metav1.ManagedFieldsEntry
	for _, tc := range []struct {
		reason  string
		entries entries
		want    bool
	}{
		{"as we make it", entries{entry(FieldManager, 1, ours)}, true},
		{"as anyone else has touched it", entries{entry(FieldManager, 1, ours), entry("x", 2, `{"f:metadata":{"f:finalizers":{}}}`)}, false},
		{"as another tool has made it", entries{entry("reflector", 1, ours)}, false},
		{"with a label that a webhook has added to our write", entries{entry(FieldManager, 1, `{"f:metadata":{"f:annotations":{},"f:labels":{"f:x":{}}}}`)}, false},
		{"with its annotation", entries{entry(FieldManager, 1, `{"f:metadata":{"f:annotations":{"f:x":{}}}}`)}, false},
		{"with only its label", entries{entry(FieldManager, 1, `{"f:metadata":{"f:labels":{"f:x":{}}}}`)}, false},
		{"with a field we never set", entries{entry(FieldManager, 1, `{"f:immutable":{}}`)}, false},
		{"no managed fields", nil, false},
		{"no JSON", entries{entry(FieldManager, 1, `[`)}, false},
	} {
		if got := sole(tc.entries); got != tc.want {
			t.Errorf("%s: %t", tc.reason, got)
		}
	}
}

func FuzzVouched(f *testing.F) {
	f.Add(`{"f:data":{".":{},"f:a":{}}}`, `{"f:data":{"f:a":{}}}`)
	f.Add(`{}`, `{"f:stringData":{"f:":1}}`)
	f.Fuzz(func(t *testing.T, ours, theirs string) {
		e := []metav1.ManagedFieldsEntry{entry(FieldManager, 100, ours), entry("x", 200, theirs)}
		sole(e[:1])
		if vouched(e, keysHash(nil)) && vouched(e, keysHash([]string{"data/a"})) {
			t.Error("two sets of keys at a time")
		}
	})
}
