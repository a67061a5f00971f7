package webhook

import (
	"bytes"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestDecide(t *testing.T) {
	first, second := madeAt(t, 0), madeAt(t, 250)
	twoThirds := epoch.Add(365 * day / 3 * 2)
	for _, tc := range []struct {
		reason string
		ca     *authority
		at     time.Time
		want   step
		due    time.Time
	}{
		{"there is none", nil, epoch, create, epoch},
		{"somebody else's Secret is left alone", &authority{foreign: true}, epoch, refuse, epoch},
		{"a young CA stays", &authority{current: first}, epoch, keep, twoThirds},
		{"a CA of an API server whose clock is ahead is used", &authority{current: first}, epoch.Add(-30 * time.Minute), keep, twoThirds},
		{"a damaged CA is replaced", &authority{}, epoch, replace, epoch},
		{"an expired CA is replaced", &authority{current: first}, epoch.Add(365 * day), replace, epoch.Add(365 * day)},
		{"a CA from the future, after a clock was set back, is replaced", &authority{current: second}, epoch, replace, epoch},
		{"after two thirds the next one is staged", &authority{current: first}, twoThirds, stage, twoThirds},
		{"what is staged has to be trusted a while", &authority{current: first, next: second}, epoch.Add(250*day + 59*time.Minute), keep, epoch.Add(250*day + time.Hour)},
		{"then it is promoted", &authority{current: first, next: second}, epoch.Add(250*day + time.Hour), promote, epoch.Add(250*day + time.Hour)},
		{"at once where nothing else can sign", &authority{next: second}, epoch.Add(250 * day), promote, epoch.Add(250 * day)},
		{"a staged CA that came too early does not count", &authority{current: first, next: second}, epoch.Add(100 * day), keep, twoThirds},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, due := decide(tc.ca, Lifetimes{}.withDefaults(), tc.at)
			if got != tc.want || !due.Equal(tc.due) {
				t.Errorf("got %s, look again at %s; want %s at %s", got, due, tc.want, tc.due)
			}
		})
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
}

// What is written is what is read, whichever step it was written by.
func TestAuthorityRoundTrip(t *testing.T) {
	first, second := madeAt(t, 0), madeAt(t, 250)
	retired := madeAt(t, -100).Certs[0]
	for _, a := range []*authority{
		{current: first}, {current: first, next: second}, {current: second, retired: []*x509.Certificate{first.Certs[0]}},
		{current: first, next: second, retired: []*x509.Certificate{retired}},
	} {
		secret, err := a.secret("ns", epoch.Add(251*day))
		if err != nil {
			t.Fatal(err)
		}
		got := parseAuthority(secret)
		if diff := cmp.Diff(certs(a), certs(got)); diff != "" || got.foreign {
			t.Errorf("foreign: %v, certificates (-want +got):\n%s", got.foreign, diff)
		}
	}
	swapped, err := (&authority{current: first, next: second}).secret("ns", epoch)
	if err != nil {
		t.Fatal(err)
	}
	swapped.Data["tls.key"] = swapped.Data[keyNextKey]
	if got := parseAuthority(swapped); got.current != nil || got.next == nil {
		t.Error("a key of another certificate makes a CA")
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
