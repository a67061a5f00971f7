package webhook

import (
	"context"
	"errors"
	"fmt"
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
	return &keeper{client: c, live: c, namespace: testenv.DaemonNamespace, url: l.options.URL, now: l.clock.now, lifetimes: l.options.Lifetimes.withDefaults(), recheck: recheck}
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

// So does each write of a CA's change: a crash between two of them leaves what is served trusted, and the change goes on.
func TestHealingAChange(t *testing.T) {
	for _, applied := range []bool{false, true} {
		l := newLab(t)
		l.install()
		f := &fault{applied: applied}
		k := l.keeper(f.client(daemonClient(t)))
		look := func(fails int32) {
			t.Helper()
			f.in.Store(fails)
			if _, err := k.reconcile(ctx); errors.Is(err, errInjected) != (fails > 0) || fails == 0 && err != nil {
				t.Fatalf("applied: %v: %v", applied, err)
			}
			if err := trustedEverywhere(k.state.Load(), l.clock.now()); err != nil {
				t.Errorf("applied: %v: what is served is not trusted: %v", applied, err)
			}
		}
		look(0)
		before := testenv.Writes(t)
		l.clock.jump(365 * day / 3 * 2)
		if _, err := k.reconcile(ctx); err != nil { // stages the next CA
			t.Fatal(err)
		}
		l.clock.jump(time.Hour)
		look(1) // the Secret's promotion
		look(0)
		if a := parseAuthority(caSecret(t)); len(a.retired) != 1 || a.next != nil {
			t.Errorf("applied: %v: next %v, %d retired", applied, a.next != nil, len(a.retired))
		}
		want := map[string]int{"update secrets": 2, "apply validatingwebhookconfigurations": 1, "apply mutatingwebhookconfigurations": 1}
		if diff := cmp.Diff(want, written(t, before)); diff != "" {
			t.Errorf("applied: %v: writes (-want +got):\n%s", applied, diff)
		}
	}
}

// Whatever is taken away or damaged comes back, and callers do not notice: the old CA stays trusted beside the new one.
func TestDamage(t *testing.T) {
	l := newLab(t)
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
	if now := s.keeper.state.Load(); string(now.leaf.Leaf.AuthorityKeyId) != string(old.leaf.Leaf.AuthorityKeyId) {
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
	testenv.Eventually(t, "a third CA", func() error {
		if a := parseAuthority(caSecret(t)); a.current == nil {
			return errors.New("not yet")
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
	k := l.keeper(daemonClient(t))
	if _, err := k.reconcile(ctx); err == nil {
		t.Error("a stranger's Secret is taken for ours")
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
