package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// golden is what a first start writes.
func golden() map[string]int {
	return map[string]int{"create secrets": 1, "apply validatingwebhookconfigurations": 1, "apply mutatingwebhookconfigurations": 1}
}

func caSecret(t testing.TB) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := testenv.Admin().Get(ctx, client.ObjectKey{Namespace: testenv.DaemonNamespace, Name: SecretName}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Three writes at the first start, none at the second, and none by a second replica.
func TestRestartAndReplicasWriteNothing(t *testing.T) {
	l := newLab(t)
	l.install()
	before := testenv.Writes(t)
	first, stop := l.start()
	l.eventuallyAdmitted()
	if diff := cmp.Diff(golden(), written(t, before)); diff != "" {
		t.Errorf("the first start writes (-want +got):\n%s", diff)
	}
	s := caSecret(t)
	if s.Annotations["cert-manager.io/allow-direct-injection"] != "true" || s.Type != corev1.SecretTypeTLS {
		t.Errorf("the Secret: %s %v", s.Type, s.Annotations)
	}
	for _, obj := range configurations(t, l.address) {
		if got := bundleOf(t, obj); string(got) != string(s.Data["ca.crt"]) {
			t.Errorf("%s trusts something else than the Secret's ca.crt", obj.GetObjectKind().GroupVersionKind().Kind)
		}
	}
	before = testenv.Writes(t)
	l.options.Address = freeAddress(t)
	second, _ := l.start()
	if a, b := first.keeper.state.Load().leaf, second.keeper.state.Load().leaf; a.Leaf.SerialNumber.Cmp(b.Leaf.SerialNumber) == 0 ||
		string(a.Leaf.AuthorityKeyId) != string(b.Leaf.AuthorityKeyId) {
		t.Error("two replicas do not have leaves of their own from one CA")
	}
	stop()
	l.options.Address = l.address
	l.start()
	if err := l.admitted(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if got := written(t, before); len(got) > 0 {
		t.Errorf("a second replica and a restart write %v", got)
	}
}

// Replicas that start together agree on one CA.
func TestReplicasAgree(t *testing.T) {
	l := newLab(t)
	l.install()
	var wg sync.WaitGroup
	keepers := make([]*keeper, 4)
	for i := range keepers {
		keepers[i] = l.keeper(daemonClient(t))
		wg.Go(func() {
			for range 20 {
				if _, err := keepers[i].reconcile(ctx); err == nil {
					return
				} else if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
					t.Error(err)
				}
			}
			t.Error("never came to rest")
		})
	}
	wg.Wait()
	for i, k := range keepers {
		if string(k.state.Load().leaf.Leaf.AuthorityKeyId) != string(keepers[0].state.Load().leaf.Leaf.AuthorityKeyId) {
			t.Errorf("replica %d has another CA", i)
		}
	}
}

func daemonClient(t testing.TB) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keeper returns a keeper that the test itself makes look.
func (l *lab) keeper(c client.Client) *keeper {
	return &keeper{client: c, live: c, secret: types.NamespacedName{Namespace: testenv.DaemonNamespace, Name: SecretName}, url: l.options.URL, now: l.clock.now, lifetimes: l.options.Lifetimes.withDefaults(), recheck: recheck}
}

var errInjected = errors.New("injected")

// fault makes the n-th write from now fail: refused, or done but unanswered.
type fault struct {
	in      atomic.Int32
	applied bool
}

func (f *fault) around(write func() error) error {
	if f.in.Add(-1) != 0 {
		return write()
	}
	if f.applied {
		return errors.Join(errInjected, write())
	}
	return errInjected
}

func (f *fault) client(c client.WithWatch) client.Client {
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return f.around(func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return f.around(func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return f.around(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return f.around(func() error { return c.Apply(ctx, obj, opts...) })
		},
	})
}

// Each write of a first start fails twice: refused, and done but unanswered. The next look heals both.
func TestHealing(t *testing.T) {
	for _, url := range []string{"", "https://127.0.0.1:1"} {
		want := golden()
		if url != "" {
			want = map[string]int{"create secrets": 1, "patch validatingwebhookconfigurations": 1, "patch mutatingwebhookconfigurations": 1}
		}
		for n := range int32(3) {
			for _, applied := range []bool{false, true} {
				t.Run(fmt.Sprintf("url %q, write %d, applied: %v", url, n+1, applied), func(t *testing.T) {
					l := newLab(t)
					l.options.URL = url
					l.install()
					f := &fault{applied: applied}
					f.in.Store(n + 1)
					before := testenv.Writes(t)
					k := l.keeper(f.client(daemonClient(t)))
					if _, err := k.reconcile(ctx); !errors.Is(err, errInjected) {
						t.Fatalf("the fault: %v", err)
					}
					if k.state.Load() != nil {
						t.Error("it serves what is not trusted everywhere")
					}
					if _, err := k.reconcile(ctx); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, written(t, before)); diff != "" {
						t.Errorf("writes (-want +got):\n%s", diff)
					}
					state := k.state.Load()
					if err := trustedEverywhere(state, l.clock.now()); err != nil || len(state.trusted) != 2 {
						t.Errorf("trusted by %d: %v", len(state.trusted), err)
					}
				})
			}
		}
	}
}

// stand is a keeper that looks when it is told to, at a clock that stands still until it is told to jump.
type stand struct {
	*lab
	*keeper
}

// newStand returns a keeper that has looked once, beside a lab whose clock stands still.
func newStand(t *testing.T, around func(client.WithWatch) client.Client) stand {
	t.Helper()
	l := newLab(t)
	l.clock.stop()
	l.install()
	s := stand{lab: l, keeper: l.keeper(around(daemonClient(t)))}
	s.look("")
	return s
}

// again is a keeper after a restart: it remembers nothing.
func (s stand) again(around func(client.WithWatch) client.Client) stand {
	return stand{lab: s.lab, keeper: s.lab.keeper(around(daemonClient(s.t)))}
}

func asIs(c client.WithWatch) client.Client { return c }

// look makes the keeper look once, with an error of this text or none, and checks that what it serves then is trusted.
func (s stand) look(wantError string) *serving {
	s.t.Helper()
	_, err := s.reconcile(ctx)
	if wantError == "" && err != nil || wantError != "" && (err == nil || !strings.Contains(err.Error(), wantError)) {
		s.t.Fatalf("got the error %v, want %q", err, wantError)
	}
	return s.trusted()
}

// trusted returns what the keeper serves, and checks that every configuration trusts it, whatever the keeper believes.
func (s stand) trusted() *serving {
	s.t.Helper()
	state := s.state.Load()
	if state == nil {
		s.t.Fatal("nothing is served")
	}
	live := &serving{leaf: state.leaf, names: state.names}
	for _, obj := range configurations(s.t, s.address) {
		live.trusted = append(live.trusted, bundleOf(s.t, obj))
	}
	for _, which := range []*serving{state, live} {
		if err := trustedEverywhere(which, s.clock.now()); err != nil {
			s.t.Fatalf("what is served is not trusted: %v", err)
		}
	}
	return state
}

// by checks which CA a leaf is of.
func (s stand) by(what string, leaf *serving, ca *x509.Certificate) {
	s.t.Helper()
	if !signedBy(leaf.leaf.Leaf, ca) {
		s.t.Errorf("%s: the leaf is of another CA", what)
	}
}

// refusing has writes to some kinds fail as long as it is on.
type refusing struct {
	kinds []string
	on    atomic.Bool
}

func (r *refusing) refuses(kind string) error {
	if r.on.Load() && slices.Contains(r.kinds, kind) {
		return errInjected
	}
	return nil
}

func (r *refusing) client(c client.WithWatch) client.Client {
	return interceptor.NewClient(c, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			if err := r.refuses("Secret"); err != nil {
				return err
			}
			return c.Update(ctx, obj, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := r.refuses(obj.(interface{ GetKind() string }).GetKind()); err != nil {
				return err
			}
			return c.Apply(ctx, obj, opts...)
		},
	})
}

// So does each write of a CA's change: a crash between two of them leaves what is served trusted, and the change goes on.
func TestHealingAChange(t *testing.T) {
	const writes = 5 // the staged CA, both configurations, the note that they trust it, the promotion
	for n := range int32(writes) {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, applied: %v", n+1, applied), func(t *testing.T) {
				f := &fault{applied: applied}
				s := newStand(t, f.client)
				first, before, failures := s.state.Load().ca, testenv.Writes(t), 0
				f.in.Store(n + 1)
				looks := func() {
					t.Helper()
					for range 4 {
						if _, err := s.reconcile(ctx); errors.Is(err, errInjected) {
							s.trusted()
							failures++
							s = s.again(f.client) // what was remembered is lost with it
							continue
						} else if err != nil {
							t.Fatal(err)
						}
						s.trusted()
					}
				}
				s.clock.jump(365 * day / 3 * 2)
				looks()
				s.by("after staging", s.look(""), first)
				s.clock.jump(time.Hour)
				looks()
				s.look("")
				a := parseAuthority(caSecret(t))
				s.by("in the end", s.state.Load(), a.current.Certs[0])
				if len(a.retired) != 1 || a.next != nil || !a.held.IsZero() {
					t.Errorf("next %v, held since %s, %d retired", a.next != nil, a.held, len(a.retired))
				}
				want := map[string]int{"update secrets": 3, "apply validatingwebhookconfigurations": 1, "apply mutatingwebhookconfigurations": 1}
				if diff := cmp.Diff(want, written(t, before)); diff != "" || failures != 1 {
					t.Errorf("%d failures, writes (-want +got):\n%s", failures, diff)
				}
			})
		}
	}
}

// As long as one configuration can't be written, the next CA does not sign, restarts or not; leaves of the first one are renewed. When
// it can, the hour begins.
func TestNextCAWaitsForEveryConfiguration(t *testing.T) {
	r := &refusing{kinds: []string{kindValidating}}
	s := newStand(t, r.client)
	first := s.state.Load()
	r.on.Store(true)
	s.clock.jump(365 * day / 3 * 2)
	staged := s.look("injected")
	for range 3 {
		s.clock.jump(6 * day)
		renewed := s.look("injected")
		if renewed.leaf == staged.leaf {
			t.Error("a failing write keeps the leaf from being renewed")
		}
		s.by("while one can't be written", renewed, first.ca)
		restarted := s.again(r.client)
		s.by("after a restart", restarted.look("injected"), first.ca)
	}
	if a := parseAuthority(caSecret(t)); a.next == nil || !a.held.IsZero() {
		t.Fatalf("promoted: %v, held since %s", a.next == nil, a.held)
	}
	r.on.Store(false)
	s.look("") // makes it trusted
	s.look("") // notes that it is
	s.clock.jump(time.Hour - time.Second)
	s.by("before the hour is over", s.look(""), first.ca)
	next := parseAuthority(caSecret(t)).next.Certs[0]
	s.clock.jump(time.Second)
	s.by("after an hour", s.look(""), next)
}

// A daemon that died after it had staged a CA, before any configuration knew, comes back days later: what API servers have heard of is
// served, and the hour begins then.
func TestRestartBetweenStagingAndInjecting(t *testing.T) {
	r := &refusing{kinds: []string{kindMutating, kindValidating}}
	s := newStand(t, r.client)
	first := s.state.Load().ca
	s.clock.jump(365 * day / 3 * 2)
	r.on.Store(true)
	s.look("injected")
	s.clock.jump(10 * day)
	back := s.again(asIs)
	s.by("at the restart", back.look(""), first)
	s.by("a moment later", back.look(""), first)
	a := parseAuthority(caSecret(t))
	if a.next == nil || !a.held.Equal(s.clock.now().Truncate(time.Second)) {
		t.Fatalf("promoted: %v, held since %s", a.next == nil, a.held)
	}
	s.clock.jump(time.Hour)
	s.by("an hour later", back.look(""), a.next.Certs[0])
}

// The hour begins anew when a configuration loses the next CA. That is written down before the configuration is healed, or else whoever
// comes next would take it for healed all the time.
func TestHourBeginsAnew(t *testing.T) {
	r := &refusing{kinds: []string{"Secret"}}
	s := newStand(t, r.client)
	obj := configurations(t, s.address)[1]
	old := bundleOf(t, obj)
	first := s.state.Load().ca
	s.clock.jump(365 * day / 3 * 2)
	s.look("")
	s.look("")
	both := bundleOf(t, obj)
	s.clock.jump(59 * time.Minute)
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, base64.StdEncoding.EncodeToString(old))
	if err := testenv.Admin().Patch(ctx, obj, client.RawPatch("application/json-patch+json", patch)); err != nil {
		t.Fatal(err)
	}
	r.on.Store(true)
	s.by("before it is written down", s.look("injected"), first)
	if !bytes.Equal(bundleOf(t, obj), old) {
		t.Error("the configuration is healed before it is written down that it was not")
	}
	r.on.Store(false)
	s.look("")
	if !bytes.Equal(bundleOf(t, obj), both) || !parseAuthority(caSecret(t)).held.IsZero() {
		t.Error("the configuration is not healed, or the hour goes on")
	}
	s.look("")
	s.clock.jump(59 * time.Minute)
	s.by("before a whole hour", s.look(""), first)
	next := parseAuthority(caSecret(t)).next.Certs[0]
	s.clock.jump(time.Minute)
	s.by("after a whole hour", s.look(""), next)
}

// A Secret that can't be written keeps no leaf from being renewed.
func TestLeafIsRenewedWithoutTheSecret(t *testing.T) {
	r := &refusing{kinds: []string{"Secret"}}
	s := newStand(t, r.client)
	first := s.state.Load()
	r.on.Store(true)
	s.clock.jump(365 * day / 3 * 2)
	if renewed := s.look("injected"); renewed.leaf == first.leaf {
		t.Error("the leaf is not renewed")
	}
}

// Whichever replica makes API servers trust another CA, each waits until they have heard.
func TestReplicaWaitsForOthersWrites(t *testing.T) {
	one := newStand(t, asIs)
	other := one.again(asIs)
	old := other.look("").ca
	if err := testenv.Admin().Delete(ctx, caSecret(t)); err != nil {
		t.Fatal(err)
	}
	before := testenv.Writes(t)
	one.by("who writes", one.look(""), old)
	written1 := written(t, before)
	other.by("who finds it written", other.look(""), old)
	if diff := cmp.Diff(written1, written(t, before)); diff != "" || len(written1) != 3 {
		t.Errorf("the other replica writes too (-one +both):\n%s", diff)
	}
	one.clock.jump(settle - time.Nanosecond)
	one.by("who writes, just before", one.look(""), old)
	other.by("who finds it written, just before", other.look(""), old)
	one.clock.jump(time.Nanosecond)
	ca := parseAuthority(caSecret(t)).current.Certs[0]
	one.by("who wrote", one.look(""), ca)
	other.by("who found it written", other.look(""), ca)
}

// Whatever is taken away or damaged comes back, and callers do not notice: the old CA stays trusted beside the new one.
func TestDamage(t *testing.T) {
	l := newLab(t)
	l.clock.stop()
	l.install()
	s, _ := l.start()
	l.eventuallyAdmitted()
	stopAsking, failures := l.askAllTheTime()
	old := s.keeper.state.Load()

	if err := testenv.Admin().Delete(ctx, caSecret(t)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "a new CA beside the old one", func() error {
		if n := len(ownCAs(bundleOf(t, configurations(t, l.address)[0]))); n != 2 {
			return fmt.Errorf("%d CAs", n)
		}
		return nil
	})
	if l.looked(s).leaf != old.leaf {
		t.Error("the new CA's leaf is served before API servers can have heard of it")
	}
	l.clock.jump(settle)
	replaced := l.until(s, "a leaf of the new CA", func(now *serving) bool {
		return string(now.leaf.Leaf.AuthorityKeyId) != string(old.leaf.Leaf.AuthorityKeyId)
	})

	secret := caSecret(t)
	secret.Data["tls.key"] = []byte("garbage")
	if err := testenv.Admin().Update(ctx, secret); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "a third CA beside the others", func() error {
		if n := len(ownCAs(bundleOf(t, configurations(t, l.address)[0]))); n != 3 {
			return fmt.Errorf("%d CAs", n)
		}
		return nil
	})
	l.clock.jump(settle)
	l.until(s, "a leaf of the third CA", func(now *serving) bool {
		return string(now.leaf.Leaf.AuthorityKeyId) != string(replaced.leaf.Leaf.AuthorityKeyId)
	})
	stopAsking()
	if len(*failures) > 0 {
		t.Errorf("%d admissions failed, the first: %v", len(*failures), (*failures)[0])
	}

	// A blanked bundle can't but fail calls on new connections; it is back at once.
	before := testenv.Writes(t)
	blank := []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
	obj := configurations(t, l.address)[0].(*unstructured.Unstructured)
	if err := testenv.Admin().Patch(ctx, obj, client.RawPatch("application/json-patch+json", blank)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the bundle to be back", func() error {
		if len(ownCAs(bundleOf(t, configurations(t, l.address)[0]))) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if diff := cmp.Diff(map[string]int{"apply mutatingwebhookconfigurations": 1}, written(t, before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// A stranger's Secret is neither used nor changed: the webhook says what is in its way, and is not ready.
func TestForeignSecret(t *testing.T) {
	l := newLab(t)
	l.install()
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.DaemonNamespace, Name: SecretName}, Data: map[string][]byte{"a": []byte("b")}}
	if err := testenv.Admin().Create(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	before := testenv.Writes(t)
	s := &Server{keeper: l.keeper(daemonClient(t)), options: l.options}
	if _, err := s.keeper.reconcile(ctx); err == nil || !strings.Contains(err.Error(), "the Secret cert-manager/trustglass-webhook-ca is not ours") {
		t.Errorf("a stranger's Secret: %v", err)
	}
	if err := ready(s); err == nil || !strings.Contains(err.Error(), "the webhook has no certificate yet") {
		t.Errorf("ready: %v", err)
	}
	if got := written(t, before); len(got) > 0 || caSecret(t).ResourceVersion != theirs.ResourceVersion {
		t.Errorf("writes: %v", got)
	}
}

// A daemon outside of the cluster makes the shipped configurations, which call a Service, call its URL; in another place, another one.
func TestURL(t *testing.T) {
	l := newLab(t)
	for _, obj := range configurations(t, "") {
		if err := testenv.Admin().Create(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	move := func(address string) map[string]int {
		before := testenv.Writes(t)
		l.options.Address, l.options.URL = address, "https://"+address
		_, stop := l.start()
		l.eventuallyAdmitted()
		stop()
		return written(t, before)
	}
	moved := map[string]int{"patch validatingwebhookconfigurations": 1, "patch mutatingwebhookconfigurations": 1}
	first := map[string]int{"create secrets": 1, "patch validatingwebhookconfigurations": 1, "patch mutatingwebhookconfigurations": 1}
	for _, tc := range []struct {
		reason, address string
		want            map[string]int
	}{
		{"at first", l.address, first}, {"in the same place", l.address, map[string]int{}}, {"in another place", freeAddress(t), moved},
	} {
		if diff := cmp.Diff(tc.want, move(tc.address)); diff != "" {
			t.Errorf("%s it writes (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// Where nobody has installed configurations, there is nothing to write but the CA, and the webhook is ready for them to come.
func TestConfigurationsMayComeLater(t *testing.T) {
	l := newLab(t)
	before := testenv.Writes(t)
	l.start()
	if diff := cmp.Diff(map[string]int{"create secrets": 1}, written(t, before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	l.install()
	l.eventuallyAdmitted()
}
