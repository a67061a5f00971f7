package issuance

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

var errFault = errors.New("injected fault")

// fault makes one write fail, the n-th: before it is sent, or after it was carried out. Then the process is dead: nothing more is
// written through it.
type fault struct {
	n     int
	after bool
	dies  bool

	mu      sync.Mutex
	written []string
	hit     chan struct{} // closed when the fault has happened
	created int           // CertificateRequests that came into being
}

func (f *fault) around(what string, write func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = append(f.written, what)
	switch {
	case len(f.written) == f.n:
		defer close(f.hit)
	case len(f.written) > f.n && f.n > 0 && f.dies:
		return errFault
	default:
		return f.send(what, write)
	}
	if f.after {
		if err := f.send(what, write); err != nil {
			return err
		}
	}
	return errFault
}

func (f *fault) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.written)
}

func (f *fault) send(what string, write func() error) error {
	err := write()
	if err == nil && strings.HasPrefix(what, "create *v1.CertificateRequest") {
		f.created++
	}
	return err
}

func (f *fault) client(t *testing.T) client.Client {
	t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return f.around(fmt.Sprintf("create %T", obj), func() error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return f.around(fmt.Sprintf("delete %T", obj), func() error { return c.Delete(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return f.around("patch "+string(patch.Type()), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return f.around(fmt.Sprintf("update %T", obj), func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
	})
}

// flow is a way from a Certificate that needs something to one that has it.
type flow struct {
	name   string
	wire   func(*Certificates, *Requests)
	writes int
	renews bool
	issuer string // "ca" if empty
}

// Every write of every flow fails once, in each way, with a process that lives on or one that is started anew. The Certificate
// gets there all the same, with at most one request more than without.
func TestFaults(t *testing.T) {
	flows := []flow{
		{"first issuance", nil, 4, false, ""},
		{"renewal", nil, 5, true, ""},
		{"renewal of a self-signed one", nil, 5, true, "self"},
		{"first issuance with a persisted key", func(c *Certificates, _ *Requests) { c.SignAtOnce = false }, 7, false, ""},
		{"renewal with a persisted key", func(c *Certificates, _ *Requests) { c.SignAtOnce = false }, 8, true, ""},
	}
	l := newLab(t)
	stop := l.start(nil)
	l.ca()
	l.issuer("self", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}})
	l.issuerReady("self", cmmeta.ConditionTrue, "IsReady")
	stop()
	for i, f := range flows {
		for n := 1; n <= f.writes; n++ {
			for _, after := range []bool{false, true} {
				for _, dies := range []bool{false, true} {
					what := map[bool]string{false: "refused", true: "unanswered"}[after] + map[bool]string{false: "", true: ", then a restart"}[dies]
					t.Run(fmt.Sprintf("%s, write %d %s", f.name, n, what), func(t *testing.T) {
						l := &lab{t: t, ns: l.ns}
						l.survives(f, fmt.Sprintf("c-%d-%d-%t-%t", i, n, after, dies), &fault{n: n, after: after, dies: dies, hit: make(chan struct{})})
					})
				}
			}
		}
		t.Run(f.name+" has no more writes", func(t *testing.T) {
			l := &lab{t: t, ns: l.ns}
			none := &fault{}
			l.issueWith(f, fmt.Sprintf("none-%d", i), none)
			l.restAt(fmt.Sprintf("none-%d", i), f.revision())
			if len(none.written) != f.writes {
				t.Errorf("%d writes, the sweep covers %d: %q", len(none.written), f.writes, none.written)
			}
		})
	}
}

// issued names the flow's issuer in a Certificate.
func (f flow) issued(c *cmapi.Certificate) {
	if f.issuer != "" {
		c.Spec.IssuerRef.Name, c.Spec.CommonName = f.issuer, c.Name
	}
}

func (f flow) revision() int {
	if f.renews {
		return 2
	}
	return 1
}

// issueWith starts the flow with a client that fails as f says.
func (l *lab) issueWith(f flow, name string, fault *fault) (stop func()) {
	l.t.Helper()
	l.t.Cleanup(func() { l.delete(&cmapi.Certificate{ObjectMeta: l.meta(name)}) })
	if f.renews {
		stop := l.start(nil)
		l.certificate(name, f.issued)
		l.ready(name, 1)
		stop()
		l.clock.jump(61 * day)
	}
	stop = l.start(func(c *Certificates, r *Requests) {
		if f.wire != nil {
			f.wire(c, r)
		}
		c.Client = fault.client(l.t)
		r.Client = c.Client
	})
	if !f.renews {
		l.certificate(name, f.issued)
	}
	return stop
}

func (l *lab) survives(f flow, name string, fault *fault) {
	l.t.Helper()
	stop := l.issueWith(f, name, fault)
	testenv.Eventually(l.t, "the fault", func() error {
		select {
		case <-fault.hit:
			return nil
		default:
			return fmt.Errorf("writes so far %q", fault.all())
		}
	})
	if fault.dies {
		stop()
		fault.n, fault.written = 0, nil
		stop = l.start(func(c *Certificates, r *Requests) {
			if f.wire != nil {
				f.wire(c, r)
			}
			c.Client = fault.client(l.t)
			r.Client = c.Client
		})
	}
	l.restAt(name, f.revision())
	stop()
	if fault.created > 2 {
		l.t.Errorf("%d CertificateRequests were made", fault.created)
	}
}

// restAt waits until a Certificate is Ready at a revision or, after a write that went unanswered, the one beside it, with
// nothing left over.
func (l *lab) restAt(name string, revision int) {
	l.t.Helper()
	testenv.Eventually(l.t, name+" at rest", func() error {
		cert, err := get(l, name, &cmapi.Certificate{})
		if err != nil {
			return err
		}
		if reason, message := problems(cert); reason != "" {
			return fmt.Errorf("%s: %s", reason, message)
		}
		if r := currentRevision(cert); r < revision || r > revision+1 {
			return fmt.Errorf("revision %d", r)
		}
		secret, err := get(l, cert.Spec.SecretName, &corev1.Secret{})
		if err != nil {
			return err
		}
		leaf, err := soundLeaf(secret)
		if err != nil {
			return err
		}
		if !l.clock.now().Before(leaf.NotBefore.Add(60 * day)) {
			return fmt.Errorf("the certificate of %s is still there", leaf.NotBefore)
		}
		if secret.Annotations[annCertificate] != name || secret.Annotations[annIssuerName] != cert.Spec.IssuerRef.Name {
			return fmt.Errorf("annotations %v", secret.Annotations)
		}
		mine := slices.DeleteFunc(l.requests(), func(r string) bool { return !strings.HasPrefix(r, name+"-") })
		if want := requestName(name, currentRevision(cert)); len(mine) != 1 || mine[0] != want {
			return fmt.Errorf("requests %q, want %s", mine, want)
		}
		if n := len(l.nextKeys()); n != 0 {
			return fmt.Errorf("%d temporary Secrets", n)
		}
		return nil
	})
}

// problems returns why a Certificate is not Ready and at rest.
func problems(cert *cmapi.Certificate) (string, string) {
	if c := condition(cert, cmapi.CertificateConditionReady); c == nil {
		return "Unknown", "no condition"
	} else if c.Status != "True" {
		return c.Reason, c.Message
	}
	if c := condition(cert, cmapi.CertificateConditionIssuing); c != nil {
		return c.Reason, c.Message
	}
	return "", ""
}

// A CA that goes away after its issuer was found ready: the request that was made for a key in memory goes too, and the key is
// persisted for another one.
func TestIssuerGoneWhileIssuing(t *testing.T) {
	l := newLab(t)
	var asked atomic.Int32
	l.start(func(c *Certificates, r *Requests) {
		live := must(client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()}))
		c.Signer = &Signer{Cache: c.Cache, ClusterNamespace: l.ns, Secrets: &Secrets{Cache: c.Cache, Live: interceptor.NewClient(live, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				asked.Add(1)
				return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
			},
		})}}
	})
	l.ca()
	before := testenv.Writes(t)
	l.certificate("web", nil)
	_, leaf := l.ready("web", 1)
	l.tidy("web-1")
	if asked.Load() != 1 {
		t.Errorf("the CA was asked for %d times with the key in memory, want once", asked.Load())
	}
	secret := must(get(l, "web", &corev1.Secret{}))
	if key := must(pki.ParseKey(secret.Data["tls.key"])); !leaf.PublicKey.(*ecdsa.PublicKey).Equal(key.Public()) {
		t.Error("the certificate is another key's")
	}
	l.event("Certificate/web Warning Waiting Secret " + l.ns + "/ca does not exist")
	want := map[string]int{
		"create certificaterequests": 2, "delete certificaterequests": 1, "create secrets": 1, "update certificates/status": 2,
		"update certificaterequests/status": 1, "apply secrets": 1, "delete secrets": 1,
	}
	if diff := cmp.Diff(want, since(t, before)); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
}

// A Secret that can't be written: the Certificate says so, tries less and less often, and gets there when the obstacle is gone.
func TestSecretThatCannotBeWritten(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.create(&corev1.Secret{ObjectMeta: l.meta("web"), Immutable: ptr.To(true), Data: map[string][]byte{"other": []byte("x")}})
	before := testenv.Writes(t)
	l.certificate("web", nil)
	says := l.says("web", cmapi.CertificateConditionIssuing, cmmeta.ConditionTrue, "MissingData")
	if !strings.Contains(says.Message, "; waiting: applying Secret web: ") || !strings.Contains(says.Message, "immutable") {
		t.Errorf("message %q", says.Message)
	}
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "MissingData")
	l.event("Certificate/web Warning SecretWriteFailed applying Secret web: ")
	l.certificate("probe", nil)
	l.ready("probe", 1)
	if n := since(t, before)["create certificaterequests"]; n > 8 {
		t.Errorf("%d requests were made while the Secret could not be written", n)
	}
	l.clock.jump(holdOffMost)
	l.delete(&corev1.Secret{ObjectMeta: l.meta("web")})
	l.ready("web", 1)
	l.tidy("probe-1", "web-1")
}

func TestHoldOff(t *testing.T) {
	var h holdOff
	cert := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "a", Generation: 1}}
	key := keyOf("ns", "web")
	if got := h.left(cert, start); got != 0 {
		t.Errorf("before any failure %s", got)
	}
	for n, want := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond} {
		if got := h.failed(cert, start); got != n+1 {
			t.Errorf("%d failures in a row, want %d", got, n+1)
		}
		if got := h.left(cert, start); got != want {
			t.Errorf("after failure %d: %s, want %s", n+1, got, want)
		}
	}
	if got := h.left(cert, start.Add(800*time.Millisecond)); got != 0 {
		t.Errorf("when it is over %s", got)
	}
	if got := h.left(cert, start.Add(-day)); got != holdOffMost {
		t.Errorf("with a clock that was set back %s", got)
	}
	for range 100 {
		h.failed(cert, start)
	}
	if got := h.left(cert, start); got != holdOffMost {
		t.Errorf("after a hundred failures %s", got)
	}
	edited := cert.DeepCopy()
	edited.Generation = 2
	if got := h.left(edited, start); got != 0 {
		t.Errorf("after an edit %s", got)
	}
	if h.failed(edited, start) != 1 {
		t.Error("an edit begins a new count")
	}
	again := edited.DeepCopy()
	again.UID = "b"
	if got := h.left(again, start); got != 0 {
		t.Errorf("another Certificate of that name %s", got)
	}
	h.forget(key)
	if len(h.m) != 0 {
		t.Errorf("left behind: %v", h.m)
	}
}

// What has begun goes on for a while when the daemon is told to stop, and no longer.
func TestFinishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, stop := context.WithCancel(t.Context())
		ctx, done := finishing(parent)
		defer done()
		stop()
		time.Sleep(finishTime - time.Nanosecond)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("cut off before its time")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("goes on for ever")
		}
	})
	ctx, done := finishing(context.Background())
	if done(); ctx.Err() == nil {
		t.Error("not at its end")
	}
}

// What fails because its namespace goes is no failure; what else is not there is one.
func TestLeaving(t *testing.T) {
	terminating := apierrors.NewForbidden(corev1.Resource("secrets"), "web", errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("creating: %w", terminating), true},
		{errors.Join(nil, apierrors.NewNotFound(corev1.Resource("namespaces"), "a")), true},
		{apierrors.NewNotFound(corev1.Resource("secrets"), "web"), false},
		{apierrors.NewForbidden(corev1.Resource("secrets"), "web", errors.New("a quota")), false},
		{errors.New("the connection was lost"), false},
		{nil, false},
	} {
		if got := leaving(tc.err); got != tc.want {
			t.Errorf("%v: %t", tc.err, got)
		}
	}
}
