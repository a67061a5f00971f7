// Package trust publishes CA certificates: it assembles the sources of a Bundle (trust.cert-manager.io/v1alpha1) into one
// PEM text and keeps that text in a ConfigMap of the Bundle's name in every selected namespace.
//
//	Bundle ───────────────┐
//	Secret, ConfigMap ────┤  observe ──▶ State ──▶ plan ──▶ actions ──▶ apply ──▶ ConfigMap <bundle> in each namespace
//	  (trust namespace)   │     │                   pure                  │
//	Namespace ────────────┤     └─▶ assemble: PEM ──▶ Pool                ├─▶ places: what to remember, when to look again
//	ConfigMap <bundle> ───┘                   pure                        └─▶ report ──▶ Bundle status, Events, metrics
//
// Invariants:
//
//   - A target holds certificates and nothing else. A source with any other PEM block, or with PEM headers, refuses the
//     whole Bundle; what is written is encoded anew from parsed certificates, never copied from a source.
//   - Whatever is wrong with a Bundle or its sources, its targets keep the last good content.
//   - A target is written when its metadata tells that it differs, so a restart with everything in place writes nothing, and
//     neither does taking over from trust-manager: field manager, label, annotation, hash and owner are the same.
//   - A ConfigMap of the Bundle's name that nobody gave to the Bundle is left alone. Its owner gives it by the label
//     trust.cert-manager.io/bundle=<name>.
//   - Every write is bound to the object and version it was decided on; a target that seemed absent is created, never overwritten.
//   - A namespace that refuses its target delays no other, and is tried again in its own time.
//   - What happens in a namespace costs a look at that one. All are looked at when the content or the spec has changed.
//   - Who undoes what is written is answered, but at intervals that grow, and named in the condition.
//
// Caches: metadata of ConfigMaps, Secrets and Namespaces (one informer each) and Bundles. A source's payload is read live
// when its version has changed, parsed and dropped; the assembled text, public by nature, is kept, one for each Bundle.
// Keeps tells which cached objects need their labels, annotations and managedFields. Of managedFields the entries of
// FieldManager are enough to decide; the others tell who else writes to a target.
package trust
