// Package pki holds the pure parts of issuance: keys, requests, chains, names and renewal times. It reads no clock and knows
// no Kubernetes client; bytes and API values go in, bytes and values come out.
//
//	spec ──NewRequest──▶ CSR (PEM) ──ParseRequest──▶ Template ──Sign──▶ leaf
//	                                                             │
//	PEM of a CA or an issuer's answer ──ParseCertificates──▶ NewBundle ──▶ tls.crt (leaf first, no root) and ca.crt
//	Secret's bytes ──NewDigest──▶ Digest: all that a cache may keep of them
//
// Everything that parses has a size limit that applies before the parser runs.
package pki
