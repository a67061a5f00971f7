package trust

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

const (
	// FieldManager owns the fields of targets and of a Bundle's status. It is trust-manager's, so that either can take
	// over from the other.
	FieldManager = "trust-manager"

	// LabelBundle on a target names its Bundle. On a ConfigMap made by someone else it is that owner's consent to having
	// the Bundle's key added; the other keys stay.
	LabelBundle = "trust.cert-manager.io/bundle"

	// AnnotationHash on a target tells what it was written from, see contentHash.
	AnnotationHash = "trust.cert-manager.io/hash"

	// DefaultTrustNamespace is where sources are read when Reconciler.TrustNamespace is empty.
	DefaultTrustNamespace = "cert-manager"
)

// Reasons of the condition Synced and of the Events that go with it, as trust-manager has them.
const (
	reasonSynced                 = "Synced"
	reasonSourceNotFound         = "SourceNotFound"
	reasonSourceBuildError       = "SourceBuildError"
	reasonSecretTargetsDisabled  = "SecretTargetsDisabled"
	reasonTargetFailed           = "SyncConfigMapTargetFailed"
	reasonNamespaceSelectorError = "NamespaceSelectorError"
)

// Reasons of Events that trust-manager does not have.
const (
	reasonBundleChanged = "BundleChanged"
	reasonTargetDrift   = "TargetDrift"
)

// reservedPrefixes are the prefixes of label and annotation keys that a Bundle may not set on its targets.
var reservedPrefixes = []string{"trust.cert-manager.io/", "trust-manager.io/"}

// Keeps tells whether this package needs labels, annotations and managedFields of a cached object: a Namespace, a possible
// source, or a target. trustNamespace is the Reconciler's; empty means DefaultTrustNamespace.
func Keeps(obj *metav1.PartialObjectMetadata, trustNamespace string) bool {
	if trustNamespace == "" {
		trustNamespace = DefaultTrustNamespace
	}
	if obj.Namespace == "" || obj.Namespace == trustNamespace || obj.Labels[LabelBundle] != "" {
		return true
	}
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil && isBundleRef(owner) {
		return true
	}
	return slices.ContainsFunc(obj.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == FieldManager })
}

func isBundleRef(ref *metav1.OwnerReference) bool {
	return ref.Kind == trustapi.BundleKind && strings.HasPrefix(ref.APIVersion, trustapi.SchemeGroupVersion.Group+"/")
}

// parseFound reads from a ConfigMap's metadata what plan and report need. fields remembers the keys of managedFields seen before:
// those of a Bundle's targets are all alike.
func parseFound(obj *metav1.PartialObjectMetadata, fields map[string][]string) Found {
	f := Found{
		UID: obj.UID, Version: obj.ResourceVersion,
		Label: obj.Labels[LabelBundle], Hash: obj.Annotations[AnnotationHash],
		Deleting: obj.DeletionTimestamp != nil,
	}
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		f.Owner = ref.UID
	}
	var ours, theirs time.Time
	for i := range obj.ManagedFields {
		e := &obj.ManagedFields[i]
		var at time.Time
		if e.Time != nil {
			at = e.Time.Time
		}
		if e.Manager != FieldManager {
			if !at.Before(theirs) {
				f.Writer, theirs = e.Manager, at
			}
			continue
		}
		f.Managed = true
		if at.After(ours) {
			ours = at
		}
		if e.FieldsV1 == nil {
			continue
		}
		raw := e.FieldsV1.GetRawString()
		keys, seen := fields[raw]
		if !seen {
			keys = dataKeys(raw)
			fields[raw] = keys
		}
		f.Keys = union(f.Keys, keys)
	}
	if theirs.Before(ours) { // what was written last is ours
		f.Writer = ""
	}
	return f
}

// union returns the sorted union of two sorted lists; the lists themselves stay as they are.
func union(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// dataKeys returns, sorted, the keys under data and binaryData of one managedFields entry. An entry that cannot be read
// owns nothing, so its target is written again.
func dataKeys(raw string) []string {
	var entry struct {
		Data       map[string]json.RawMessage `json:"f:data"`
		BinaryData map[string]json.RawMessage `json:"f:binaryData"`
	}
	if err := json.Unmarshal([]byte(raw), &entry); err != nil {
		return nil
	}
	var keys []string
	for _, m := range []map[string]json.RawMessage{entry.Data, entry.BinaryData} {
		for k := range m {
			if name, ok := strings.CutPrefix(k, "f:"); ok {
				keys = append(keys, name)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Owner identifies a Bundle as targets name it.
type Owner struct {
	Name string
	UID  types.UID
}
