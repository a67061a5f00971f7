// Package issuance keeps the Secret of every Certificate filled with a valid key pair, and signs CertificateRequests.
//
//	              ┌───────────── observe ─────────────┐
//	Certificate ──▶ State (spec, Secret's digest,      │──decide──▶ Decision ──apply──▶ CertificateRequest
//	 ▲  ▲  ▲        requests, persisted key, now)      │            (decide.go)          Secret, status
//	 │  │  └ Secret changed                            │
//	 │  └ CertificateRequest changed                   │
//	 └ spec changed, or the time came that Decision named
//
// One Certificate reconciler (reconciler.go) owns the way from trigger to Secret. Where its issuer can sign at once, one
// reconcile makes four writes: CertificateRequest, then its status (approved and signed) and the Secret side by side, then the
// Certificate's status; the key lives in memory only until the Secret is written, and a crash costs one request. Where it can't (approval awaited, issuer not ready,
// somebody else's issuer), the key is persisted in a labelled temporary Secret first, and the request's own life goes on in
// Requests (requests.go), which also approves and signs what others request. Issuers (issuers.go) keeps Ready conditions true.
//
// Invariants:
//   - Key bytes are read in secrets.go and nowhere else. Caches hold metadata, pki.Digests, and digests in place of the CSRs and
//     certificates of requests that have come to their end (trim.go).
//   - Every write carries the resourceVersion or UID that the decision saw; an absent Secret is applied at a version that no object has, so that one
//     which has appeared meanwhile answers with a conflict.
//   - A Secret with a working key pair is replaced only by a complete one, in a single write.
//   - decide is pure: the same state gives the same decision, at any time after a crash between any two writes.
package issuance
