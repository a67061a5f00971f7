// Package validation tells what is wrong with an object of the cert-manager API, before anybody acts on it. It is pure: no client,
// no clock, no log.
//
//	AdmissionReview ──webhook──▶ Certificate, CertificateRequest, Issuer ... ──▶ field.ErrorList (nil: nothing is wrong)
//	Certificate ──reconciler──▶ Certificate ─────────────────────────────────┘
//
// The webhook and the reconciler ask the same function, so that passing the webhook by gains nothing. Every error names the field at
// fault and the reason; a value that may be secret or long is not quoted. What the API's schema says already (enumerations, required
// keys) is checked again only where it decides what is signed.
package validation
