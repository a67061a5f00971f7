package webhook

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trustglass/trustglass/issuance/pki"
)

const (
	// maxCAs is how many CAs a configuration trusts at most: those that last longest.
	maxCAs = 8
	// maxBundleBytes is the largest caBundle that is read. A larger one is not ours, and is replaced.
	maxBundleBytes = 256 << 10
)

// Lifetimes are those of what the keeper makes. All zero means a year, a week and an hour.
type Lifetimes struct {
	// CA and Leaf are how long the certificates are valid. Each is replaced after two thirds of it.
	CA, Leaf time.Duration
	// Overlap is how long the next CA is trusted before it signs.
	Overlap time.Duration
}

func (l Lifetimes) withDefaults() Lifetimes {
	if l.CA == 0 {
		l.CA = 365 * 24 * time.Hour
	}
	if l.Leaf == 0 {
		l.Leaf = 7 * 24 * time.Hour
	}
	if l.Overlap == 0 {
		l.Overlap = time.Hour
	}
	return l
}

// step is what is to be done with the CA.
type step string

const (
	keep    step = "keep"
	create  step = "create"  // there is none: make one
	replace step = "replace" // it can't sign any more: make another at once
	stage   step = "stage"   // make the next one, to be trusted and not yet used
	promote step = "promote" // use the next one
	refuse  step = "refuse"  // the Secret is not ours
)

// decide returns what to do with the CA at now, and when to look again if nothing happens before. A nil authority is an absent Secret.
func decide(a *authority, l Lifetimes, now time.Time) (step, time.Time) {
	switch {
	case a == nil:
		return create, now
	case a.foreign:
		return refuse, now
	case !usable(a.current, now) && usable(a.next, now):
		return promote, now
	case !usable(a.current, now):
		return replace, now
	}
	due := twoThirds(a.current.Certs[0])
	if usable(a.next, now) {
		due = a.next.Certs[0].NotBefore.Add(backdate + l.Overlap)
		if !now.Before(due) {
			return promote, now
		}
	} else if !now.Before(due) {
		return stage, now
	}
	return keep, due
}

func usable(pair *pki.KeyPair, now time.Time) bool {
	return pair != nil && now.Before(pair.Certs[0].NotAfter) && !now.Before(pair.Certs[0].NotBefore)
}

// twoThirds returns when two thirds of a certificate's lifetime have passed, what it was backdated by apart.
func twoThirds(c *x509.Certificate) time.Time {
	made := c.NotBefore.Add(backdate)
	return made.Add(c.NotAfter.Sub(made) / 3 * 2)
}

// leafDue tells whether a leaf has to be made anew: there is none, it is of another CA or for other names, or its time has come. due is
// when to look again.
func leafDue(leaf *x509.Certificate, ca *x509.Certificate, names []string, now time.Time) (needed bool, due time.Time) {
	if leaf == nil || !bytes.Equal(leaf.AuthorityKeyId, ca.SubjectKeyId) || leaf.CheckSignatureFrom(ca) != nil {
		return true, now
	}
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return true, now
		}
	}
	due = twoThirds(leaf)
	return !now.Before(due), due
}

// mergeBundle returns the caBundle of a configuration that has have: every CA that is to be trusted, and those of ours that it trusts
// already and that have not expired. Certificates of others have no business there.
func mergeBundle(have []byte, trusted []*x509.Certificate, now time.Time) []byte {
	all := newestFirst(append(slices.Clone(trusted), ownCAs(have)...), now)
	if len(all) > maxCAs {
		all = all[:maxCAs]
	}
	return pki.EncodeCertificates(all...)
}

// ownCAs returns the webhook CAs of a PEM text; whatever else it holds is passed over.
func ownCAs(text []byte) []*x509.Certificate {
	if len(text) > maxBundleBytes {
		return nil
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.IsCA && c.Subject.CommonName == caCommonName {
			out = append(out, c)
		}
	}
	return out
}

// configuration is a webhook configuration, as far as it concerns us.
type configuration struct {
	kind, version string
	webhooks      []called
}

// called is how the API server calls one webhook.
type called struct {
	name    string
	url     string // empty: the Service
	service bool
	bundle  []byte
	target  string // the URL that it is to call; empty: the Service
}

// aim sets what every webhook is to call: our own URL where we have one, else what whoever installed it has chosen.
func aim(configs []configuration, base string) {
	for _, c := range configs {
		for i := range c.webhooks {
			w := &c.webhooks[i]
			switch {
			case base == "":
				w.target = w.url
			case c.kind == kindMutating:
				w.target = strings.TrimSuffix(base, "/") + PathMutate
			default:
				w.target = strings.TrimSuffix(base, "/") + PathValidate
			}
		}
	}
}

// namesOf returns the names by which the server is called: those of its Service, and the hosts of URLs that configurations have instead.
func namesOf(namespace string, configs []configuration) []string {
	names := []string{ServiceName + "." + namespace + ".svc", ServiceName + "." + namespace, ServiceName}
	for _, c := range configs {
		for _, w := range c.webhooks {
			u, err := url.Parse(w.target)
			if err != nil || u.Hostname() == "" {
				continue
			}
			if host := u.Hostname(); !slices.Contains(names, host) && (net.ParseIP(host) != nil || len(host) <= 253) {
				names = append(names, host)
			}
		}
	}
	return names
}
