// Package signingrequest signs Kubernetes' own CertificateSigningRequests with our issuers, those of types selfSigned and ca.
//
//	                             ┌────────── observe ─────────┐
//	CertificateSigningRequest ──▶│ State (the request as the  │──decide──▶ Decision ──┬─ Wait: one Event
//	 ▲  ▲  ▲                     │ API server has it, issuer) │           (decide.go) ├─ Review ─▶ SubjectAccessReview ─▶ decide
//	 │  │  └ Secret with its key └────────────────────────────┘                       ├─ Sign ───▶ Signer ─▶ conclude
//	 │  └ Issuer, ClusterIssuer                                                       └─ Fail, Issue ──apply──▶ status
//	 └ approved
//
// A request names its issuer in spec.signerName: issuers.cert-manager.io/<namespace>.<name> or clusterissuers.cert-manager.io/<name>.
// It is signed once somebody has approved it, and for an Issuer only where the requester holds the verb "reference" on
// signers.cert-manager.io <name> (or *) in the Issuer's namespace: else anybody who may request a certificate could use every
// namespace's Issuers. Annotations say what the object has no field for, see ParseAsk.
//
// Invariants:
//   - A request gets one write: its chain, or the condition Failed. Both are final, and so is a denial; nothing is ever retried
//     behind them.
//   - What may still come (approval, the issuer, its readiness, a Secret) is waited for, with one Event for each thing, and no write.
//   - The write carries the resourceVersion that the decision saw, and the decision saw the API server's object, not the cache's:
//     an update of this status replaces the metadata too, of which the cache keeps only a part.
//   - Issuers of other types are left alone: another controller may serve them.
//   - Nothing of a Secret is read here. The issuer reads keys, live, when it signs.
package signingrequest
