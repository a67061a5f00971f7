package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

var ctx = context.Background()

// clock runs, from where it is set, until it is stopped.
type clock struct{ ahead, stopped atomic.Int64 }

func (c *clock) now() time.Time {
	now := time.Now()
	if at := c.stopped.Load(); at != 0 {
		now = time.Unix(0, at)
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

func (c *clock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// stop leaves it to jumps how time passes, however long the test takes.
func (c *clock) stop() { c.stopped.Store(time.Now().UnixNano()) }

// lab is the real API server with both shipped configurations, which call a server on this machine.
type lab struct {
	t       *testing.T
	ns      string
	address string
	clock   clock
	options Options
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, ns: testenv.Namespace(t, nil), address: freeAddress(t)}
	l.options = Options{Namespace: testenv.DaemonNamespace, Address: l.address, Now: l.clock.now}
	clear := func() { // at first, in case that they are installed; and in the end, so that the next lab starts from nothing
		for _, obj := range append(configurations(t, l.address), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.DaemonNamespace, Name: SecretName}}) {
			if err := testenv.Admin().Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
				t.Errorf("deleting %s: %v", obj.GetName(), err)
			}
		}
	}
	clear()
	t.Cleanup(clear)
	return l
}

// install applies the shipped configurations, pointed at the lab's address.
func (l *lab) install() {
	l.t.Helper()
	for _, obj := range configurations(l.t, l.address) {
		if err := testenv.Admin().Create(ctx, obj); err != nil {
			l.t.Fatal(err)
		}
	}
}

// configurations returns what deploy/ has, with a URL instead of the Service if there is an address.
func configurations(t testing.TB, address string) []client.Object {
	t.Helper()
	raw, err := os.ReadFile("../deploy/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []client.Object
	docs := yaml.NewYAMLToJSONDecoder(bytes.NewReader(raw))
	for {
		u := &unstructured.Unstructured{}
		if err := docs.Decode(u); err != nil {
			return out
		}
		if u.GetKind() == "Service" {
			continue
		}
		out = append(out, u)
		if address == "" {
			continue
		}
		for _, w := range u.Object["webhooks"].([]any) {
			to := w.(map[string]any)["clientConfig"].(map[string]any)
			to["url"] = "https://" + address + to["service"].(map[string]any)["path"].(string)
			delete(to, "service")
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a server with the daemon's rights and waits until it is ready.
func (l *lab) start() (s *Server, stop func()) {
	l.t.Helper()
	stop = testenv.Manager(l.t, func(mgr ctrl.Manager) (err error) {
		if s, err = New(mgr, l.options); err != nil {
			return err
		}
		return mgr.Add(s)
	})
	l.waitReady(s)
	return s, stop
}

func (l *lab) waitReady(s *Server) {
	l.t.Helper()
	testenv.Eventually(l.t, "the webhook to be ready", func() error { return ready(s) })
}

func ready(s *Server) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return err
	}
	return s.StartedChecker()(req)
}

// wake makes a server's keeper look at the clock.
func wake(s *Server) {
	select {
	case s.keeper.poke <- struct{}{}:
	default:
	}
}

// looked returns what a server's keeper serves after a look that began after the call: the second that ends from now on.
func (l *lab) looked(s *Server) (state *serving) {
	l.t.Helper()
	for range 2 {
		before := s.keeper.state.Load()
		testenv.Eventually(l.t, "the keeper to look", func() error {
			wake(s)
			if state = s.keeper.state.Load(); state == before {
				return errors.New("not yet")
			}
			return nil
		})
	}
	return state
}

// shown connects anew by every name of a server, as an API server would that has what each configuration trusts now, and returns an
// error if it is not shown this certificate.
func (l *lab) shown(s *Server, want *serving) error {
	for _, obj := range configurations(l.t, l.address) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundleOf(l.t, obj))
		for _, name := range want.names {
			conn, err := tls.Dial("tcp", s.options.Address, &tls.Config{RootCAs: roots, ServerName: name, Time: l.clock.now})
			if err != nil {
				return fmt.Errorf("as %s, with what the %s trusts: %w", name, obj.GetObjectKind().GroupVersionKind().Kind, err)
			}
			got := conn.ConnectionState().PeerCertificates[0]
			if err := conn.Close(); err != nil {
				return err
			}
			if !got.Equal(want.leaf.Leaf) {
				return fmt.Errorf("as %s it shows a certificate of %s", name, got.NotBefore)
			}
		}
	}
	return nil
}

// as returns a client of a user who has this ServiceAccount-like identity and may create requests and update their status.
func (l *lab) as(user string) client.Client {
	l.t.Helper()
	config := testenv.AdminConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, UID: "uid-of-" + user, Groups: []string{"system:authenticated", "team"}, Extra: map[string][]string{"example.com/team": {"red"}}}
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// allow gives users rights, as `kubectl create clusterrole` would, until the test ends.
func (l *lab) allow(user string, names []string, verb string, resources ...string) {
	l.t.Helper()
	rule := map[string]any{"apiGroups": []any{pki.Group}, "resources": toAny(resources), "verbs": []any{verb}}
	if names != nil {
		rule["resourceNames"] = toAny(names)
	}
	name := fmt.Sprintf("%s-%s-%s-%d", l.ns, strings.ReplaceAll(user, ":", "-"), verb, time.Now().UnixNano())
	role := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": name}, "rules": []any{rule},
	}}
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": name},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
		"subjects": []any{map[string]any{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}},
	}}
	for _, obj := range []client.Object{role, binding} {
		if err := testenv.Admin().Create(ctx, obj); err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() {
			if err := testenv.Admin().Delete(ctx, obj); err != nil {
				l.t.Errorf("deleting %s: %v", name, err)
			}
		})
	}
}

func toAny(list []string) (out []any) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// request returns a CertificateRequest that an issuer could sign.
func (l *lab) request(name string, ref cmmeta.IssuerReference) *cmapi.CertificateRequest {
	l.t.Helper()
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		l.t.Fatal(err)
	}
	csr, err := pki.NewRequest(&cmapi.CertificateSpec{CommonName: name}, key)
	if err != nil {
		l.t.Fatal(err)
	}
	return &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.ns, Name: name},
		Spec:       cmapi.CertificateRequestSpec{Request: csr, IssuerRef: ref},
	}
}

func (l *lab) certificate(name string) *cmapi.Certificate {
	return &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.ns, Name: name},
		Spec:       cmapi.CertificateSpec{SecretName: name, CommonName: name, IssuerRef: cmmeta.IssuerReference{Name: "ca"}},
	}
}

// admitted asks the API server whether it would take a good Certificate: an answer other than yes is the webhook's failure.
func (l *lab) admitted() error {
	return testenv.Admin().Create(ctx, l.certificate("web"), client.DryRunAll)
}

// eventuallyAdmitted waits until the API server has heard of the configurations, or of their CA.
func (l *lab) eventuallyAdmitted() {
	l.t.Helper()
	testenv.Eventually(l.t, "the API server to reach the webhook", func() error {
		bad := l.certificate("web")
		bad.Spec.SecretName = "A"
		if err := testenv.Admin().Create(ctx, bad, client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("a bad Certificate: %w", errors.Join(err, errors.New("not refused")))
		}
		return l.admitted()
	})
}

// refused checks that an error is a refusal with this text.
func refused(t testing.TB, err error, want string) {
	t.Helper()
	const prefix = `admission webhook "webhook.cert-manager.io" denied the request: `
	if err == nil || !strings.HasPrefix(err.Error(), prefix+want) {
		t.Errorf("got  %v\nwant %s%s", err, prefix, want)
	}
}

// written returns the daemon's writes since before, questions apart.
func written(t testing.TB, before map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range testenv.Writes(t) {
		if d := n - before[k]; d > 0 && !strings.Contains(k, "subjectaccessreviews") {
			out[k] = d
		}
	}
	return out
}

func bundleOf(t testing.TB, obj client.Object) []byte {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(obj), u); err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(u.Object["webhooks"].([]any)[0].(map[string]any), "clientConfig", "caBundle")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
