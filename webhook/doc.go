// Package webhook is the daemon's admission server: it stamps requests with who made them, refuses what can't work, and asks whether
// whoever approves a request may. It decodes, calls a pure function of issuance/validation, and encodes.
//
//	kube-apiserver ──/mutate──▶ stamp (admit.go, identity.go) ─────────────▶ patch
//	               ──/validate▶ validation.Certificate, ... (admit.go) ────▶ allowed, or field and reason
//	                             └ Approved or Denied added ──approval.go──▶ SubjectAccessReview
//
//	Secret trustglass-webhook-ca ──observe──▶ authority ──decide──▶ create, stage, mark, promote, keep (keeper.go, plan.go)
//	                                             │
//	     leaf of 7 days, in memory ◀─────────────┴──────▶ caBundle of both webhook configurations trustglass-webhook
//
// The daemon is its own certificate authority here. The CA lies in a Secret that all replicas share; each makes its own leaf of it and
// puts the CA's certificate into the configurations by which the API server calls. What these call, a Service or a URL, is the choice
// of whoever installs them: the keeper reads it to know the leaf's names and writes nothing but caBundle. Only a daemon that was told
// its own URL, since it runs outside of the cluster, makes them call that.
//
// A CA is changed in two steps: first the next one is staged, which makes it trusted; then it is promoted, and leaves are signed with it.
// Between them every configuration has trusted it for an hour. When that began stands in an annotation of the Secret, written once all
// have been seen to, and struck out if one does not any more: a crash between two writes, or a configuration that can't be written, makes
// the wait longer and never shorter. The old one stays trusted until it expires. So whichever replica answers, and whichever version of
// the configuration an API server has, the certificate is trusted.
//
// Another server of the daemon, that of its metrics, has its certificate from such a keeper too (certificate.go): of a CA in a Secret of its
// own, with no configurations to write. Who trusts that Secret's ca.crt has an hour to hear of the next CA.
//
// Invariants:
//   - Key bytes of the CA are read in authority.go and nowhere else; a leaf's key never leaves memory.
//   - Every replica serves; no Lease is needed. Writes are made only where something differs, at the version that was seen: whoever
//     comes second sees the other's work and has nothing left to do. A restart writes nothing.
//   - A leaf is served only after every configuration trusts its CA. Until then, and before the first one, the daemon is not ready. A
//     leaf that is trusted is replaced by one of another CA only when API servers have had time to hear of that, whoever wrote it.
//   - A write that fails ends neither what is served nor its renewal.
//   - A CA that is not trusted any more is dropped from the configurations only when it has expired.
//   - A request's body, the time that it takes to arrive, the work on it and what is remembered between requests are bounded, in bytes.
//     What has not arrived takes no room, and what waits for an answer of the API server takes none from those that do not.
package webhook
