package webhook

import (
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// other is a server besides admission, whose keeper the test itself makes look.
type other struct {
	t     *testing.T
	clock clock
	key   types.NamespacedName
}

func newOther(t *testing.T) *other {
	o := &other{t: t, key: types.NamespacedName{Namespace: testenv.Namespace(t, nil), Name: "metrics-ca"}}
	o.clock.stop()
	return o
}

func (o *other) keeper() *keeper {
	c := daemonClient(o.t)
	return &keeper{client: c, live: c, secret: o.key, names: []string{"metrics.cert-manager.svc", "192.0.2.7"}, now: o.clock.now,
		lifetimes: Lifetimes{}.withDefaults(), recheck: recheck}
}

// look has a keeper look once; afterwards whoever trusts ca.crt trusts what is served, by all its names.
func (o *other) look(k *keeper) *serving {
	o.t.Helper()
	if _, err := k.reconcile(ctx); err != nil {
		o.t.Fatal(err)
	}
	state := k.state.Load()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(o.secret().Data["ca.crt"])
	for _, name := range k.names {
		if _, err := state.leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: o.clock.now()}); err != nil {
			o.t.Errorf("called %s: %v", name, err)
		}
	}
	return state
}

func (o *other) secret() *corev1.Secret {
	o.t.Helper()
	s := &corev1.Secret{}
	if err := testenv.Admin().Get(ctx, o.key, s); err != nil {
		o.t.Fatal(err)
	}
	return s
}

// turnsOver lets two thirds of a year pass: the next CA is trusted for an hour before it signs.
func (o *other) turnsOver(k *keeper) {
	o.t.Helper()
	first := k.state.Load().ca
	o.clock.jump(365 * day / 3 * 2)
	for range 2 { // stages the next, and notes that it is trusted
		if !o.look(k).ca.Equal(first) {
			o.t.Error("the next CA signs at once")
		}
	}
	if n := len(ownCAs(o.secret().Data["ca.crt"])); n != 2 {
		o.t.Errorf("%d CAs are trusted, want 2", n)
	}
	o.clock.jump(time.Hour)
	if o.look(k).ca.Equal(first) {
		o.t.Error("an hour later the first CA still signs")
	}
	if n := len(ownCAs(o.secret().Data["ca.crt"])); n != 2 {
		o.t.Errorf("%d CAs are trusted afterwards, want 2", n)
	}
}

// A server without webhook configurations has its certificate from a CA in a Secret of its own: one write, and none at a restart.
func TestCertificateOfAnotherServer(t *testing.T) {
	o := newOther(t)
	k := o.keeper()
	o.look(k)
	before := testenv.Writes(t)
	o.look(k)
	o.look(o.keeper())
	if got := written(t, before); len(got) > 0 {
		t.Errorf("a second look and a restart write %v", got)
	}
	o.turnsOver(k)
}

// The CA that the incumbent left behind goes on signing, and is replaced when its time comes.
func TestCertificateOfTheIncumbentsCA(t *testing.T) {
	o := newOther(t)
	ca, err := newCA(o.clock.now(), 365*day)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.EncodeKey(ca.Key, "PKCS8")
	if err != nil {
		t.Fatal(err)
	}
	cert := pki.EncodeCertificates(ca.Certs[0])
	theirs := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.key.Namespace, Name: o.key.Name, Annotations: map[string]string{"cert-manager.io/allow-direct-injection": "true"},
		},
		Data: map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": cert},
	}
	if err := testenv.Admin().Create(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if !parseAuthority(theirs).foreign {
		t.Error("admission, whose Secret nobody names, would take it over too")
	}
	before := testenv.Writes(t)
	k := o.keeper()
	if !o.look(k).ca.Equal(ca.Certs[0]) {
		t.Error("another CA signs")
	}
	if got := written(t, before); len(got) > 0 {
		t.Errorf("writes %v", got)
	}
	o.turnsOver(k)
	if s := o.secret(); s.Type != corev1.SecretTypeOpaque {
		t.Errorf("type %s", s.Type)
	}
}
