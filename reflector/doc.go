// Package reflector keeps copies of a Secret or ConfigMap (the source) in other namespaces (its mirrors), as the
// annotations of emberstack's Reflector ask for.
//
//	source event ─┐                                       ┌─▶ Create   (absent where it is wanted)
//	mirror event ─┼─▶ key of the SOURCE ─▶ observe ─▶ plan ┼─▶ Update   (ours or direct, content differs)
//	namespace ────┘    (one queue)        metadata  pure   ├─▶ Delete   (ours, no longer wanted)
//	                                         ▲             ├─▶ Keep
//	                                         │             └─▶ Refuse   (a reason, reported where its owner looks)
//	          plan has a write: read the source live, plan again ─▶ apply (bounded, in parallel) ─▶ report
//
// # Kinds of mirror
//
// An automatic mirror has the source's name, was created here and says auto-reflects "True"; it is deleted when it is no
// longer wanted. A direct mirror was created by somebody who put `reflects: namespace/name` on it; it is filled while the
// source permits it and never deleted or emptied. An object that reflects another is a mirror first: it does not push, but
// others may pull from it.
//
// # Invariants
//
//   - A key is a source. Everything about it is decided from the metadata in the cache, in one pure function, plan.
//   - No write is decided on the cache alone: a plan that holds a write has the source read live and is made again. A source
//     that is gone is gone by that read.
//   - A create never overwrites; an update names the resourceVersion it saw; a delete names UID and resourceVersion.
//   - Nothing in the source's own namespace is created or deleted.
//   - Bad input (a pattern, a selector, a boolean) freezes that source: no mirror is written, emptied or removed.
//   - A payload lives in memory for the length of one reconcile. Mirrors are not read to find out whether they are up to
//     date: a content hash in an annotation says what was written, and managed fields say whether anyone has touched the
//     data since. Only where these can't vouch for a mirror is it read and compared.
//   - A restart with everything in place writes nothing.
//
// # What the cache has to keep
//
// Labels and annotations of the objects that Keeps names and, for those that carry the annotation
// trustglass.io/reflected-hash, the managedFields entries of every manager. Without managed fields all is still correct, but
// each mirror is read once after a restart, and written by patches, which cost the API server more.
package reflector
