package testenv

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// env is what Main has started for the tests of one package.
var env struct {
	plane  *ControlPlane
	admin  client.Client
	daemon *rest.Config
	writes counter
}

// Main starts a control plane with deploy/ installed, runs a package's tests against it and exits with their result. While
// fuzzing, which runs no test and has a process for each processor, there is no control plane.
func Main(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard())
	if err := setUp(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		tearDown()
		os.Exit(1)
	}
	go func() { // an interrupted run leaves nothing behind
		<-ctx.Done()
		tearDown()
		os.Exit(130)
	}()
	code := m.Run()
	tearDown()
	os.Exit(code)
}

func setUp(ctx context.Context) (err error) {
	if env.plane, err = Start(ctx, os.Stderr); err != nil {
		return err
	}
	if env.admin, err = client.New(env.plane.Admin, client.Options{Scheme: Scheme()}); err != nil {
		return fmt.Errorf("building the admin client: %w", err)
	}
	if err := Install(ctx, env.plane.Admin); err != nil {
		return err
	}
	if env.daemon, err = Daemon(ctx, env.plane.Admin); err != nil {
		return err
	}
	env.daemon.Wrap(env.writes.wrap)
	return nil
}

var tornDown sync.Once

func tearDown() {
	tornDown.Do(func() {
		if env.plane == nil {
			return
		}
		if err := env.plane.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv:", err)
		}
	})
}

// Admin returns an uncached client with the cluster admin's rights, for a test's own actions and observations.
func Admin() client.Client { return env.admin }

// AdminConfig returns the cluster admin's configuration.
func AdminConfig() *rest.Config { return rest.CopyConfig(env.plane.Admin) }

// DaemonConfig returns the configuration of the daemon's ServiceAccount with the shipped roles. Writes made with it are
// counted, see Writes.
func DaemonConfig() *rest.Config { return rest.CopyConfig(env.daemon) }

// Namespace creates a namespace with a fresh name and these labels; it goes with the test.
func Namespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-", Labels: labels}}
	if err := env.admin.Create(context.Background(), ns); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := env.admin.Delete(context.Background(), ns); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

// Manager runs a manager under the daemon's identity until the test ends or the returned function is called, which
// returns when the manager has stopped. Its client reads Secrets and ConfigMaps live, as the daemon's does.
func Manager(t testing.TB, setup func(ctrl.Manager) error) (stop func()) {
	t.Helper()
	mgr, err := ctrl.NewManager(DaemonConfig(), ctrl.Options{
		Scheme:     Scheme(),
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}},
		}},
	})
	if err != nil {
		t.Fatalf("building a manager: %v", err)
	}
	if err := setup(mgr); err != nil {
		t.Fatalf("setting up: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running the manager: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Eventually polls f until it returns nil and fails the test with f's last error after 20 seconds.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := poll(ctx, what, f); err != nil {
		t.Fatal(err)
	}
}

// Writes returns how many writes the daemon's identity has sent so far, Events, Leases and reviews apart, keyed "verb
// resource[/subresource]": "create secrets", "update certificates/status", "apply configmaps".
func Writes(testing.TB) map[string]int { return env.writes.snapshot() }

// counter counts an identity's writes at its transport, answered or not.
type counter struct {
	mu     sync.Mutex
	writes map[string]int
}

func (c *counter) snapshot() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}
	for k, v := range c.writes {
		out[k] = v
	}
	return out
}

func (c *counter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if key := writeKey(req); key != "" {
			c.mu.Lock()
			if c.writes == nil {
				c.writes = map[string]int{}
			}
			c.writes[key]++
			c.mu.Unlock()
		}
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// writeKey names a request as Writes does; "" for reads, reviews, Events and Leases.
func writeKey(req *http.Request) string {
	verb, ok := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[req.Method]
	if !ok {
		return ""
	}
	if verb == "patch" && strings.HasPrefix(req.Header.Get("Content-Type"), "application/apply-patch") {
		verb = "apply"
	}
	resource := resourceOf(req.URL.Path)
	switch resource {
	case "events", "leases", "subjectaccessreviews", "selfsubjectreviews": // a review is a question
		return ""
	}
	return verb + " " + resource
}

// resourceOf returns the "resource" or "resource/subresource" of an API path.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	skip := 3 // apis/GROUP/VERSION
	if parts[0] == "api" {
		skip = 2
	}
	if len(parts) <= skip {
		return path
	}
	parts = parts[skip:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}
