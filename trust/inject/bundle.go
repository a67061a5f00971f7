package inject

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/trustglass/trustglass/issuance/pki"
	"github.com/trustglass/trustglass/trust/internal/shared"
)

const (
	// maxSourceBytes bounds a ca.crt before it is parsed: 150 certificates of usual size. It is cert-manager's limit.
	maxSourceBytes = 330_000
	// maxPresentBytes bounds a bundle found in a target before it is parsed. A larger one is none of ours and is replaced.
	maxPresentBytes = 1 << 20
	// maxTargetBytes bounds what is written into all bundles of one target together. The API server stores 1.5 MiB of an
	// object, and some kinds are stored in base64.
	maxTargetBytes = 768 << 10
)

// parseCA reads the ca.crt of a source; from names it in messages.
func parseCA(from string, text []byte) ([]*x509.Certificate, *Refusal) {
	if len(text) > maxSourceBytes {
		return nil, refuse(reasonSourceInvalid, "%s has %d bytes, more than the %d allowed; leave only the CA's own certificates in it", from, len(text), maxSourceBytes)
	}
	blocks, other := decode(text)
	switch {
	case other != "":
		return nil, refuse(reasonSourceInvalid, "%s holds %s, and may hold CERTIFICATE blocks only; correct it at its origin", from, other)
	case len(blocks) == 0:
		return nil, refuse(reasonSourceInvalid, "%s holds no certificate in PEM form; it must hold blocks that begin with -----BEGIN CERTIFICATE-----", from)
	}
	var certs []*x509.Certificate
	for i, der := range blocks {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, refuse(reasonSourceInvalid, "%s: certificate %d cannot be parsed: %v; replace or remove it", from, i+1, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// parsePresent reads a bundle found in a target: what can be parsed of it. clean tells whether that is all that it holds.
func parsePresent(text []byte) (certs []*x509.Certificate, clean bool) {
	if len(text) > maxPresentBytes {
		return nil, false
	}
	blocks, other := decode(text)
	clean = other == "" && len(blocks) > 0
	for _, der := range blocks {
		if c, err := x509.ParseCertificate(der); err == nil {
			certs = append(certs, c)
		} else {
			clean = false
		}
	}
	return certs, clean
}

// decode returns the DER of every certificate block of a PEM text. other names the first thing that is none, text around blocks
// apart; it quotes nothing but the words that say what a block is.
func decode(text []byte) (blocks [][]byte, other string) {
	note := func(s string) {
		if other == "" {
			other = s
		}
	}
	for {
		block, rest := pem.Decode(text)
		consumed := text[:len(text)-len(rest)]
		if block == nil {
			consumed = text
		}
		begun := shared.Begins(consumed)
		if block == nil && begun > 0 || block != nil && begun != 1 {
			note("a PEM block that is not well formed, perhaps cut off")
		}
		if block == nil {
			return blocks, other
		}
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			note("a private key")
		case block.Type != "CERTIFICATE":
			note("a PEM block of another kind")
		case len(block.Headers) > 0:
			note("a PEM block with headers")
		default:
			blocks = append(blocks, block.Bytes)
		}
		text = rest
	}
}

// merge adds a CA to the certificates present: each once, none expired, in the order in which they came. Where that makes
// more than limit bytes of PEM, the certificates that came first and are not the CA's go.
func merge(present, ca []*x509.Certificate, limit int, now time.Time) []*x509.Certificate {
	seen := map[string]bool{}
	var out []*x509.Certificate
	for _, c := range slices.Concat(present, ca) {
		if raw := string(c.Raw); !seen[raw] && !expired(c, now) {
			seen[raw] = true
			out = append(out, c)
		}
	}
	size := pemSize(out)
	if size <= limit {
		return out
	}
	return slices.DeleteFunc(out, func(c *x509.Certificate) bool {
		if size <= limit || slices.ContainsFunc(ca, c.Equal) {
			return false
		}
		size -= pemSize([]*x509.Certificate{c})
		return true
	})
}

func pemSize(certs []*x509.Certificate) int { return len(pki.EncodeCertificates(certs...)) }

// expired follows RFC 5280: a certificate is still good in its last second.
func expired(c *x509.Certificate, now time.Time) bool { return now.After(c.NotAfter) }

func withoutExpired(certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return expired(c, now) })
}

// firstEnd returns when the first of certs expires; zero for none.
func firstEnd(certs []*x509.Certificate) time.Time {
	var first time.Time
	for _, c := range certs {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}
