package trust

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestKeeps(t *testing.T) {
	for _, tc := range []struct {
		reason string
		meta   metav1.ObjectMeta
		want   bool
	}{
		{reason: "a Namespace", meta: metav1.ObjectMeta{Name: "n"}, want: true},
		{reason: "a possible source", meta: metav1.ObjectMeta{Namespace: "cert-manager"}, want: true},
		{reason: "a target, or one given to a Bundle", meta: metav1.ObjectMeta{Namespace: "n", Labels: map[string]string{LabelBundle: "b"}}, want: true},
		{reason: "a target without its label", meta: metav1.ObjectMeta{Namespace: "n", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: FieldManager}}}, want: true},
		{reason: "a target without its fields", meta: metav1.ObjectMeta{Namespace: "n", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "trust.cert-manager.io/v1alpha1", Kind: "Bundle", Controller: ptr.To(true)}}}, want: true},
		{reason: "controlled by something else", meta: metav1.ObjectMeta{Namespace: "n", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Bundle", Controller: ptr.To(true)}}}},
		{reason: "anything else", meta: metav1.ObjectMeta{Namespace: "n", Labels: map[string]string{"a": "b"}}},
	} {
		if got := Keeps(&metav1.PartialObjectMetadata{ObjectMeta: tc.meta}, ""); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.reason, got, tc.want)
		}
	}
	if Keeps(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "cert-manager"}}, "elsewhere") {
		t.Error("an object of cert-manager is kept though the trust namespace is another")
	}
}

func TestParseFound(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		UID: "c", ResourceVersion: "7", Labels: map[string]string{LabelBundle: "b"}, Annotations: map[string]string{AnnotationHash: "h"},
		OwnerReferences: []metav1.OwnerReference{{UID: "x"}, {UID: "u", Controller: ptr.To(true)}},
		ManagedFields: []metav1.ManagedFieldsEntry{
			entry(FieldManager, `{"f:data":{".":{},"f:b.crt":{}},"f:metadata":{"f:labels":{"f:x":{}}}}`),
			entry(FieldManager, `{"f:binaryData":{"f:a.p12":{}},"f:data":{"f:b.crt":{}}}`),
			entry("kubectl", `{"f:data":{"f:mine":{}}}`),
		},
	}}
	want := Found{UID: "c", Version: "7", Owner: "u", Label: "b", Hash: "h", Keys: []string{"a.p12", "b.crt"}, Managed: true}
	want.Writer = "kubectl" // without times, the last in the list
	fields := map[string][]string{}
	for range 2 { // the second time from what is remembered
		if diff := cmp.Diff(want, parseFound(obj, fields)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	stranger := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "c", ResourceVersion: "7",
		ManagedFields: []metav1.ManagedFieldsEntry{entry("kubectl", `{"f:data":{"f:mine":{}}}`)}}}
	if diff := cmp.Diff(Found{UID: "c", Version: "7", Writer: "kubectl"}, parseFound(stranger, fields)); diff != "" {
		t.Errorf("a stranger's (-want +got):\n%s", diff)
	}
}

func TestWriter(t *testing.T) {
	entry := func(manager string, seconds int) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Time: &metav1.Time{Time: start.Add(time.Duration(seconds) * time.Second)}}
	}
	for _, tc := range []struct {
		reason  string
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		{reason: "nobody"},
		{reason: "ours alone", entries: []metav1.ManagedFieldsEntry{entry(FieldManager, 0)}},
		{reason: "another wrote last", entries: []metav1.ManagedFieldsEntry{entry(FieldManager, 0), entry("kubectl", 1)}, want: "kubectl"},
		{reason: "another wrote within the same second", entries: []metav1.ManagedFieldsEntry{entry("kubectl", 0), entry(FieldManager, 0)}, want: "kubectl"},
		{reason: "we wrote last", entries: []metav1.ManagedFieldsEntry{entry("kubectl", 0), entry(FieldManager, 1)}},
		{reason: "the last of two others", entries: []metav1.ManagedFieldsEntry{entry("argocd", 2), entry("kubectl", 1), entry(FieldManager, 0)}, want: "argocd"},
		{reason: "the last entry of ours counts", entries: []metav1.ManagedFieldsEntry{entry(FieldManager, 0), entry("kubectl", 1), entry(FieldManager, 2)}},
	} {
		obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ManagedFields: tc.entries}}
		if got := parseFound(obj, map[string][]string{}).Writer; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
}

func FuzzDataKeys(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"f:data":{"f:a":{},".":{}}}`, `{"f:data":[]}`, `{"f:data":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) { dataKeys(raw) })
}
