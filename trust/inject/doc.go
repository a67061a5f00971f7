// Package inject writes CA certificates into what the API server calls: the clientConfig.caBundle of every webhook in a
// MutatingWebhookConfiguration or ValidatingWebhookConfiguration, the caBundle of an APIService, and that of a
// CustomResourceDefinition's conversion webhook. A target asks for it by an annotation that names the source.
//
//	target ────────────────┐
//	  (metadata, annotated)│  observe ──▶ State ──▶ plan ──▶ Inject │ Keep │ Refuse ──apply──▶ caBundle of the target
//	Certificate ───────────┤     │                  pure               │
//	Secret (metadata) ─────┘     └─▶ live reads: the target,           └─▶ report ──▶ Events on the target, metrics
//	                                 ca.crt of the Secret
//
// The annotations, in the order in which they count; the first that is there decides:
//
//	cert-manager.io/inject-ca-from-secret: NAMESPACE/SECRET  ca.crt of a Secret annotated cert-manager.io/allow-direct-injection: "true"
//	cert-manager.io/inject-ca-from: NAMESPACE/CERTIFICATE    ca.crt of the Certificate's Secret, which must say that it is that Certificate's
//	cert-manager.io/inject-apiserver-ca: "true"              the CA by which the daemon knows the API server
//
// Invariants:
//
//   - A new CA joins those that are there, which go when they expire: servers and callers may pass from one CA to the next
//     in any order. Where nothing was there before, the bundle is the source's, no more.
//   - What is written is encoded anew from parsed certificates. A source with any other PEM block is refused.
//   - Whatever is wrong with a source or an annotation, what was injected stays. The target's Events say what to do.
//   - One write for each target that changes, none for one that is as it should be, be it after a restart or in the state
//     that cert-manager's cainjector has left. It is an apply by FieldManager of caBundle alone, bound to the UID and
//     resourceVersion that the decision was made on.
//   - A target that fails delays no other.
//
// Caches: metadata of targets and Secrets, and Certificates. A target and its source's payload are read live when one of
// them has changed, and dropped. Keeps tells which cached targets need their annotations; their labels and managedFields are
// needed by nobody, nor is any annotation of a Secret: those are read live together with ca.crt.
package inject
