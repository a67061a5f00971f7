package webhook

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trustglass/trustglass/issuance/pki"
)

var epoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// madeAt returns a CA of a year made days after the epoch.
func madeAt(t testing.TB, days int) *pki.KeyPair {
	t.Helper()
	ca, err := newCA(epoch.Add(time.Duration(days)*day), 365*day)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// trusting returns a configuration whose webhooks each trust these CAs.
func trusting(each ...[]*pki.KeyPair) (c configuration) {
	for _, cas := range each {
		var bundle []byte
		for _, ca := range cas {
			bundle = append(bundle, pki.EncodeCertificates(ca.Certs[0])...)
		}
		c.webhooks = append(c.webhooks, called{bundle: bundle})
	}
	return c
}

func TestDecide(t *testing.T) {
	first, second := madeAt(t, 0), madeAt(t, 250)
	twoThirds, staged := epoch.Add(365*day/3*2), epoch.Add(250*day)
	both, one := trusting([]*pki.KeyPair{second, first}), trusting([]*pki.KeyPair{first})
	half := trusting([]*pki.KeyPair{second, first}, []*pki.KeyPair{first})
	moved := trusting([]*pki.KeyPair{second, first})
	moved.webhooks[0].target = "https://192.0.2.1"
	for _, tc := range []struct {
		reason  string
		ca      *authority
		configs []configuration
		at      time.Time
		want    step
		due     time.Time
	}{
		{"there is none", nil, nil, epoch, create, epoch},
		{"somebody else's Secret is left alone", &authority{foreign: true}, nil, epoch, refuse, epoch},
		{"a young CA stays", &authority{current: first}, nil, epoch, keep, twoThirds},
		{"a CA of an API server whose clock is ahead is used", &authority{current: first}, nil, epoch.Add(-30 * time.Minute), keep, twoThirds},
		{"a damaged CA is replaced", &authority{}, nil, epoch, replace, epoch},
		{"an expired CA is replaced", &authority{current: first}, nil, epoch.Add(365 * day), replace, epoch.Add(365 * day)},
		{"a CA from the future, after a clock was set back, is replaced", &authority{current: second}, nil, epoch, replace, epoch},
		{"after two thirds the next one is staged", &authority{current: first}, nil, twoThirds, stage, twoThirds},
		{"what is staged has to be trusted", &authority{current: first, next: second}, []configuration{one}, staged, keep, staged.Add(settle)},
		{"by every configuration", &authority{current: first, next: second}, []configuration{both, one}, staged.Add(50 * day), keep, staged.Add(50*day + settle)},
		{"and every webhook of it", &authority{current: first, next: second}, []configuration{half}, staged.Add(50 * day), keep, staged.Add(50*day + settle)},
		{"and who calls another place does not trust us", &authority{current: first, next: second}, []configuration{moved}, staged, keep, staged.Add(settle)},
		{"when it is, that is noted", &authority{current: first, next: second}, []configuration{both, both}, staged.Add(50 * day), mark, staged.Add(50 * day)},
		{"also where there is no configuration", &authority{current: first, next: second}, nil, staged, mark, staged},
		{"for an hour nothing happens", &authority{current: first, next: second, held: staged}, []configuration{both}, staged.Add(59 * time.Minute), keep, staged.Add(time.Hour)},
		{"then it is promoted", &authority{current: first, next: second, held: staged}, []configuration{both, both}, staged.Add(time.Hour), promote, staged.Add(time.Hour)},
		{"but not if one lost it meanwhile", &authority{current: first, next: second, held: staged}, []configuration{both, one}, staged.Add(time.Hour), doubt, staged.Add(time.Hour)},
		{"the note of a replica whose clock is ahead counts", &authority{current: first, next: second, held: staged.Add(time.Hour)}, []configuration{both}, staged, keep, staged.Add(2 * time.Hour)},
		{"a note from before a clock was set back does not", &authority{current: first, next: second, held: staged.Add(time.Hour + 1)}, []configuration{both}, staged, mark, staged},
		{"at once where nothing else can sign", &authority{next: second}, []configuration{one}, staged, promote, staged},
		{"a staged CA that came too early does not count", &authority{current: first, next: second}, []configuration{both}, epoch.Add(100 * day), keep, twoThirds},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, due := decide(&seen{now: tc.at, ca: tc.ca, configs: tc.configs}, Lifetimes{}.withDefaults())
			if got != tc.want || !due.Equal(tc.due) {
				t.Errorf("got %s, look again at %s; want %s at %s", got, due, tc.want, tc.due)
			}
		})
	}
}

func TestHoldings(t *testing.T) {
	first, second := madeAt(t, 0), madeAt(t, 0)
	cas := []*x509.Certificate{first.Certs[0], second.Certs[0]}
	look := func(h holdings, at time.Duration, configs ...configuration) holdings {
		return h.update(cas, (&seen{configs: configs}).bundles(), epoch.Add(at))
	}
	both, one := trusting([]*pki.KeyPair{first, second}), trusting([]*pki.KeyPair{first})
	want := func(reason string, got holdings, want ...time.Duration) {
		t.Helper()
		expected := holdings{}
		for i, d := range want {
			expected[string(cas[i].Raw)] = epoch.Add(d)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
	h := look(nil, 0, both, one)
	want("what all trust counts from when it is first seen", h, 0)
	h = look(h, 1, both, both)
	want("each counts from its own time", h, 0, 1)
	want("it goes on", look(h, 2, both), 0, 1)
	want("it ends for what one does not trust any more", look(h, 2, both, one), 0)
	want("and begins anew", look(look(h, 2, both, one), 3, both), 0, 3)
	want("a time to come is of a clock that was set back", look(h, -1, both), -1, -1)
	want("who has no configuration is trusted", look(nil, 5), 5, 5)
}

func TestChoose(t *testing.T) {
	old, current, next := madeAt(t, 0), madeAt(t, 0), madeAt(t, 0)
	leafOf := func(ca *pki.KeyPair) *x509.Certificate {
		leaf, err := newLeaf(ca, []string{"a"}, epoch, 7*day)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Leaf
	}
	ofOld, ofCurrent, ofNext := leafOf(old), leafOf(current), leafOf(next)
	const long, short, never = settle, settle - 1, -1
	for _, tc := range []struct {
		reason        string
		served        *x509.Certificate
		good          bool
		current, next time.Duration // how long each has been trusted everywhere
		want          *pki.KeyPair
		due           time.Duration
	}{
		{"at the first start", nil, false, 0, never, current, 0},
		{"at a start where not all could be written", nil, false, never, never, nil, settle},
		{"at a restart while the next one is staged", nil, false, 0, 0, current, 0},
		{"at a restart where a configuration lost the current one", nil, false, never, 0, next, 0},
		{"always", ofCurrent, true, long, long, current, 0},
		{"after a promotion", ofOld, true, long, never, current, 0},
		{"while API servers may not have heard of a replacement", ofOld, true, short, never, nil, 1},
		{"when they have", ofOld, true, long, never, current, 0},
		{"at once if what is served is not trusted", ofOld, false, short, never, current, 0},
		{"not even then if not all could be written", ofOld, false, never, never, nil, settle},
		{"a configuration was just healed", ofCurrent, true, 0, 0, current, 0},
		{"a configuration can't be healed", ofCurrent, false, never, never, current, 0},
		{"a configuration can't be healed, but trusts the next one", ofCurrent, false, never, long, next, 0},
		{"the current one is trusted again", ofNext, true, short, long, next, 0},
		{"and has been for a while", ofNext, true, long, long, current, 0},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			held := holdings{}
			for ca, d := range map[*pki.KeyPair]time.Duration{current: tc.current, next: tc.next} {
				if d != never {
					held[string(ca.Certs[0].Raw)] = epoch.Add(-d)
				}
			}
			got, due := choose(&authority{current: current, next: next}, tc.served, tc.good, held, epoch)
			if got != tc.want || !due.Equal(epoch.Add(tc.due)) {
				t.Errorf("current: %v, next: %v, look again after %s", got == current, got == next, due.Sub(epoch))
			}
		})
	}
	held := holdings{string(current.Certs[0].Raw): epoch}
	if got, _ := choose(&authority{current: current}, ofCurrent, false, held, epoch.Add(365*day)); got != nil {
		t.Error("a CA that has expired signs")
	}
}

func TestLeafDue(t *testing.T) {
	ca, other := madeAt(t, 0), madeAt(t, 0)
	leaf, err := newLeaf(ca, []string{"a.b.svc", "127.0.0.1"}, epoch, 7*day)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason string
		leaf   *x509.Certificate
		ca     *pki.KeyPair
		names  []string
		at     time.Duration
		want   bool
	}{
		{"there is none", nil, ca, nil, 0, true},
		{"it is young", leaf.Leaf, ca, []string{"127.0.0.1", "a.b.svc"}, 7 * day / 3, false},
		{"two thirds are over", leaf.Leaf, ca, []string{"a.b.svc"}, 7 * day / 3 * 2, true},
		{"another CA signs now", leaf.Leaf, other, []string{"a.b.svc"}, 0, true},
		{"it is called by another name", leaf.Leaf, ca, []string{"a.b.svc", "c"}, 0, true},
		{"it has expired", leaf.Leaf, ca, nil, 7 * day, true},
		{"an API server's clock is behind by an hour", leaf.Leaf, ca, nil, -backdate, false},
		{"the clock was set back to before it is valid", leaf.Leaf, ca, nil, -backdate - 1, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got, _ := leafDue(tc.leaf, tc.ca.Certs[0], tc.names, epoch.Add(tc.at)); got != tc.want {
				t.Errorf("needed: %v", got)
			}
		})
	}
	late, err := newLeaf(ca, nil, epoch.Add(364*day), 7*day)
	if err != nil {
		t.Fatal(err)
	}
	if got := late.Leaf.NotAfter; !got.Equal(ca.Certs[0].NotAfter) {
		t.Errorf("a leaf ends at %s, its CA at %s", got, ca.Certs[0].NotAfter)
	}
}

func TestMergeBundle(t *testing.T) {
	first, second, third := madeAt(t, 0).Certs[0], madeAt(t, 100).Certs[0], madeAt(t, 200).Certs[0]
	stranger, err := newLeaf(madeAt(t, 0), []string{"a"}, epoch, day)
	if err != nil {
		t.Fatal(err)
	}
	now := epoch.Add(300 * day)
	both := pki.EncodeCertificates(second, first)
	for _, tc := range []struct {
		reason  string
		have    []byte
		trusted []*x509.Certificate
		now     time.Time
		want    []byte
	}{
		{"the first injection is exactly the CA", nil, []*x509.Certificate{first}, now, pki.EncodeCertificates(first)},
		{"a new CA joins the old one", pki.EncodeCertificates(first), []*x509.Certificate{second}, now, both},
		{"nothing changes once it is there", both, []*x509.Certificate{second}, now, both},
		{"nor when the old one signs still", both, []*x509.Certificate{first, second}, now, both},
		{"what has expired goes", both, []*x509.Certificate{second}, epoch.Add(366 * day), pki.EncodeCertificates(second)},
		{"twice is once", append(slices.Clone(both), both...), []*x509.Certificate{third, second}, now, pki.EncodeCertificates(third, second, first)},
		{"a stranger's certificate has no business there", pki.EncodeCertificates(stranger.Leaf, first), []*x509.Certificate{first}, now, pki.EncodeCertificates(first)},
		{"nor has garbage", []byte("Cg=="), []*x509.Certificate{first}, now, pki.EncodeCertificates(first)},
		{"nor has what is too large to be read", make([]byte, maxBundleBytes+1), []*x509.Certificate{first}, now, pki.EncodeCertificates(first)},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := mergeBundle(tc.have, tc.trusted, tc.now); !bytes.Equal(got, tc.want) {
				t.Errorf("got %d certificates, want %d, or another order", len(ownCAs(got)), len(ownCAs(tc.want)))
			}
		})
	}
	var many []*x509.Certificate
	for i := range maxCAs + 3 {
		many = append(many, madeAt(t, i).Certs[0])
	}
	got := ownCAs(mergeBundle(pki.EncodeCertificates(many...), nil, now))
	if len(got) != maxCAs || !got[0].Equal(many[len(many)-1]) {
		t.Errorf("%d CAs are trusted, the first until %s", len(got), got[0].NotAfter)
	}
	got = ownCAs(mergeBundle(pki.EncodeCertificates(many...), many[:1], now))
	if len(got) != maxCAs || !got[maxCAs-1].Equal(many[0]) {
		t.Errorf("of %d CAs that are trusted, the one that has to be is not the last", len(got))
	}
}

// What is written is what is read, whichever step it was written by.
func TestAuthorityRoundTrip(t *testing.T) {
	first, second := madeAt(t, 0), madeAt(t, 250)
	retired := madeAt(t, -100).Certs[0]
	for _, a := range []*authority{
		{current: first}, {current: first, next: second}, {current: second, retired: []*x509.Certificate{first.Certs[0]}},
		{current: first, next: second, retired: []*x509.Certificate{retired}}, {current: first, next: second, held: epoch.Add(251 * day)},
	} {
		secret, err := a.secret(types.NamespacedName{Namespace: "ns", Name: SecretName}, epoch.Add(251*day))
		if err != nil {
			t.Fatal(err)
		}
		got := parseAuthority(secret)
		if diff := cmp.Diff(certs(a), certs(got)); diff != "" || got.foreign || !got.held.Equal(a.held) {
			t.Errorf("foreign: %v, held since %s, certificates (-want +got):\n%s", got.foreign, got.held, diff)
		}
	}
	swapped, err := (&authority{current: first, next: second}).secret(types.NamespacedName{Namespace: "ns", Name: SecretName}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	swapped.Data["tls.key"] = swapped.Data[keyNextKey]
	if got := parseAuthority(swapped); got.current != nil || got.next == nil {
		t.Error("a key of another certificate makes a CA")
	}
}

// A CA vouches for servers and for nobody else, whoever gets hold of its key; one that was made before it was so goes on.
func TestCASignsServersOnly(t *testing.T) {
	ca := madeAt(t, 0)
	older := *ca.Certs[0]
	older.ExtKeyUsage = nil
	der, err := x509.CreateCertificate(rand.Reader, &older, &older, ca.Key.Public(), ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	unbounded, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := newLeaf(ca, []string{"a"}, epoch, day)
	if err != nil {
		t.Fatal(err)
	}
	forged := *leaf.Leaf
	forged.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if der, err = x509.CreateCertificate(rand.Reader, &forged, ca.Certs[0], leaf.Leaf.PublicKey, ca.Key); err != nil {
		t.Fatal(err)
	}
	client, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason string
		leaf   *x509.Certificate
		usage  x509.ExtKeyUsage
		ca     *x509.Certificate
		ok     bool
	}{
		{"a server", leaf.Leaf, x509.ExtKeyUsageServerAuth, ca.Certs[0], true},
		{"a client", client, x509.ExtKeyUsageClientAuth, ca.Certs[0], false},
		{"a server of an older CA", leaf.Leaf, x509.ExtKeyUsageServerAuth, unbounded, true},
		{"a client of an older CA", client, x509.ExtKeyUsageClientAuth, unbounded, true}, // so the case above is of the CA's doing
	} {
		roots := x509.NewCertPool()
		roots.AddCert(tc.ca)
		_, err := tc.leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{tc.usage}})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.reason, err)
		}
	}
	if what, _ := decide(&seen{now: epoch, ca: &authority{current: &pki.KeyPair{Certs: []*x509.Certificate{unbounded}, Key: ca.Key}}}, Lifetimes{}.withDefaults()); what != keep {
		t.Errorf("an older CA: %s", what)
	}
}

func certs(a *authority) []string {
	var out []string
	for _, pair := range []*pki.KeyPair{a.current, a.next} {
		if pair == nil {
			out = append(out, "-")
		} else {
			out = append(out, pair.Certs[0].SerialNumber.String())
		}
	}
	for _, c := range a.retired {
		out = append(out, c.SerialNumber.String())
	}
	return out
}

func TestNamesOf(t *testing.T) {
	configs := []configuration{
		{webhooks: []called{{name: "a"}, {name: "b", url: "https://127.0.0.1:1/validate"}}},
		{webhooks: []called{{url: "https://127.0.0.1:1/mutate"}, {url: "https://[::1]:2"}, {url: "https://hooks.example.com"}, {url: ":"}}},
	}
	aim(configs, "")
	got := namesOf("ns", configs)
	want := []string{"trustglass-webhook.ns.svc", "trustglass-webhook.ns", "trustglass-webhook", "127.0.0.1", "::1", "hooks.example.com"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}

	aim(configs, "https://192.0.2.1:10250/")
	if diff := cmp.Diff(append(want[:3:3], "192.0.2.1"), namesOf("ns", configs)); diff != "" {
		t.Errorf("names where a URL is configured (-want +got):\n%s", diff)
	}
}
