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
	// Overlap is how long every configuration trusts the next CA before it signs.
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
	mark    step = "mark"    // every configuration trusts the next one: write down since when
	doubt   step = "doubt"   // one does not, any more: strike that out
	promote step = "promote" // use the next one
	refuse  step = "refuse"  // the Secret is not ours
)

// decide returns what to do with the CA, and when to look again if nothing happens before.
func decide(s *seen, l Lifetimes) (step, time.Time) {
	a, now := s.ca, s.now
	switch {
	case a == nil:
		return create, now
	case a.foreign:
		return refuse, now
	case !usable(a.current, now) && usable(a.next, now):
		return promote, now
	case !usable(a.current, now):
		return replace, now
	case usable(a.next, now):
		return decideNext(s, l)
	}
	if due := twoThirds(a.current.Certs[0]); now.Before(due) {
		return keep, due
	}
	return stage, now
}

// decideNext tells when the next CA may sign. It is not enough that it was made a while ago: writing it into a configuration may have
// failed since. What counts is since when all have been seen to trust it, which is written down, for whoever looks after a restart.
func decideNext(s *seen, l Lifetimes) (step, time.Time) {
	held, marked := trustedBy(s.bundles(), s.ca.next.Certs[0]), !s.ca.held.IsZero()
	due := s.ca.held.Add(l.Overlap)
	switch {
	case !held && marked: // before it is injected again: whoever sees it everywhere then must not see the old mark
		return doubt, s.now
	case !held:
		return keep, s.now.Add(settle)
	case !marked || s.ca.held.After(s.now.Add(l.Overlap)): // a mark from the future is of a clock that was set back
		return mark, s.now
	case s.now.Before(due):
		return keep, due
	}
	return promote, s.now
}

// trustedBy tells whether every caBundle has a CA.
func trustedBy(bundles [][]byte, ca *x509.Certificate) bool {
	for _, b := range bundles {
		if !slices.ContainsFunc(ownCAs(b), ca.Equal) {
			return false
		}
	}
	return true
}

// holdings is since when this replica has seen every configuration trust a CA, by the CA's bytes. Whoever wrote it there, and whatever
// was seen before a restart: API servers may have heard of it that late.
type holdings map[string]time.Time

// update returns the holdings of cas after a look at all caBundles.
func (h holdings) update(cas []*x509.Certificate, bundles [][]byte, now time.Time) holdings {
	out := holdings{}
	for _, ca := range cas {
		if !trustedBy(bundles, ca) {
			continue
		}
		since, ok := h[string(ca.Raw)]
		if !ok || since.After(now) {
			since = now
		}
		out[string(ca.Raw)] = since
	}
	return out
}

// choose returns the CA of which a leaf is to be served. The best is one that every configuration has been seen to trust for so long that
// API servers have heard; then the one that signed the leaf that is served, since nobody loses by that; then one that is trusted everywhere
// by now, but only if what is served is not (good), which is trusted by those too who have not heard. Of two, it is the current one. nil
// leaves everything as it is, and due is when to look again.
func choose(a *authority, served *x509.Certificate, good bool, held holdings, now time.Time) (_ *pki.KeyPair, due time.Time) {
	var of, everywhere *pki.KeyPair
	due = now.Add(settle)
	for _, pair := range []*pki.KeyPair{a.current, a.next} {
		if !usable(pair, now) {
			continue
		}
		since, ok := held[string(pair.Certs[0].Raw)]
		settled := since.Add(settle)
		switch {
		case ok && !now.Before(settled):
			return pair, now
		case of == nil && served != nil && signedBy(served, pair.Certs[0]):
			of = pair
		}
		if ok && everywhere == nil {
			everywhere, due = pair, settled
		}
	}
	switch {
	case of != nil:
		return of, now
	case everywhere != nil && !good:
		return everywhere, now
	}
	return nil, due
}

func signedBy(leaf, ca *x509.Certificate) bool {
	return bytes.Equal(leaf.AuthorityKeyId, ca.SubjectKeyId) && leaf.CheckSignatureFrom(ca) == nil
}

func usable(pair *pki.KeyPair, now time.Time) bool {
	return pair != nil && now.Before(pair.Certs[0].NotAfter) && !now.Before(pair.Certs[0].NotBefore)
}

// twoThirds returns when two thirds of a certificate's lifetime have passed, what it was backdated by apart.
func twoThirds(c *x509.Certificate) time.Time {
	made := c.NotBefore.Add(backdate)
	return made.Add(c.NotAfter.Sub(made) / 3 * 2)
}

// leafDue tells whether a leaf has to be made anew: there is none, it is of another CA or for other names, or its time has come, has
// passed or, after a clock was set back, is yet to come. due is when to look again.
func leafDue(leaf *x509.Certificate, ca *x509.Certificate, names []string, now time.Time) (needed bool, due time.Time) {
	if leaf == nil || !signedBy(leaf, ca) || now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
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
// already and that have not expired, as far as there is place. Certificates of others have no business there.
func mergeBundle(have []byte, trusted []*x509.Certificate, now time.Time) []byte {
	all := newestFirst(trusted, now)
	for _, c := range newestFirst(ownCAs(have), now) {
		if len(all) < maxCAs && !slices.ContainsFunc(all, c.Equal) {
			all = append(all, c)
		}
	}
	all = newestFirst(all, now)
	return pki.EncodeCertificates(all[:min(len(all), maxCAs)]...)
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

// seen is all that a decision is made from.
type seen struct {
	now     time.Time
	ca      *authority // nil: absent
	configs []configuration
}

// bundles returns every caBundle.
func (s *seen) bundles() (out [][]byte) {
	for _, c := range s.configs {
		out = append(out, c.bundles()...)
	}
	return out
}

// configuration is a webhook configuration, as far as it concerns us.
type configuration struct {
	kind, version string
	webhooks      []called
}

// bundles returns the caBundles. Who calls another place than is wanted does not trust us, whatever its caBundle is.
func (c *configuration) bundles() (out [][]byte) {
	for _, w := range c.webhooks {
		if w.target != w.url {
			w.bundle = nil
		}
		out = append(out, w.bundle)
	}
	return out
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
