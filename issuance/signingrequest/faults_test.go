package signingrequest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

var errFault = errors.New("injected fault")

// fault makes the n-th write fail: before it is sent, or after it was carried out.
type fault struct {
	n     int
	after bool

	mu      sync.Mutex
	written int
	hit     bool
}

func (f *fault) around(write func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written++
	if f.written != f.n {
		return write()
	}
	f.hit = true
	if f.after {
		if err := write(); err != nil {
			return err
		}
	}
	return errFault
}

func (f *fault) happened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

func (f *fault) client(t *testing.T) client.Client {
	t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return f.around(func() error { return c.Create(ctx, obj, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return f.around(func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
	})
}

// The review and the write each fail once, in each way. The request is signed, or fails, all the same, and only once.
func TestFaults(t *testing.T) {
	l := newLab(t)
	l.ca()
	for n := 1; n <= 2; n++ {
		for _, after := range []bool{false, true} {
			name := fmt.Sprintf("write-%d-%t", n, after)
			t.Run(name, func(t *testing.T) {
				l := &lab{t: t, ns: l.ns, cluster: l.cluster}
				f, g := &fault{n: n, after: after}, &fault{n: n, after: after}
				stop := l.start(func(r *Reconciler) { r.Client = f.client(t) })
				l.request(name, l.issuerName("ca"), nil)
				chain := pki.EncodeCertificates(l.issued(name)...)
				stop()
				stop = l.start(func(r *Reconciler) { r.Client = g.client(t) })
				l.request(name+"-fails", l.issuerName("ca"), annotated(annDuration, "1s"))
				l.failed(name+"-fails", "InvalidDuration")
				stop()
				if !f.happened() || !g.happened() {
					t.Error("nothing failed")
				}
				l.start(nil)
				before := testenv.Writes(t)
				l.exactly("the healing", before, map[string]int{})
				if again := l.get(name).Status.Certificate; string(again) != string(chain) {
					t.Error("it was signed twice")
				}
			})
		}
	}
}

// Somebody who changes a request while it is being signed does not have it signed on what was.
func TestConflict(t *testing.T) {
	l := newLab(t)
	l.ca()
	var once sync.Once
	l.start(func(r *Reconciler) {
		c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		r.Client = interceptor.NewClient(c, interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
				once.Do(func() {
					req := &certificatesv1.CertificateSigningRequest{}
					if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(obj), req); err != nil {
						t.Error(err)
					}
					req.Annotations = map[string]string{annDuration: "1h"}
					if err := testenv.Admin().Update(ctx, req); err != nil {
						t.Error(err)
					}
				})
				return c.SubResource(sub).Update(ctx, obj, opts...)
			},
		})
	})
	l.request("web", l.clusterName("ca"), nil)
	leaf := l.issued("web")[0]
	if d := leaf.NotAfter.Sub(leaf.NotBefore); d.Hours() != 1 || l.get("web").Annotations[annDuration] != "1h" {
		t.Errorf("signed for %s", d)
	}
}

// behind is a cache that shows each request for ever as it was when it could first be signed.
type behind struct {
	client.Reader
	mu   sync.Mutex
	seen map[string]*certificatesv1.CertificateSigningRequest
	hits int // reads that answered with something old
}

func (c *behind) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := c.Reader.Get(ctx, key, obj, opts...)
	req, ok := obj.(*certificatesv1.CertificateSigningRequest)
	if !ok || err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.seen[key.Name]; ok {
		if old.ResourceVersion != req.ResourceVersion {
			c.hits++
		}
		old.DeepCopyInto(req)
	} else if signable(req) {
		c.seen[key.Name] = req.DeepCopy()
	}
	return nil
}

func (c *behind) old() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits
}

// A cache that does not have our own write yet brings no second one, and no conflict.
func TestCacheBehind(t *testing.T) {
	l := newLab(t)
	l.ca()
	cache := &behind{seen: map[string]*certificatesv1.CertificateSigningRequest{}}
	l.start(func(r *Reconciler) {
		cache.Reader = r.Cache
		r.Cache = cache
	})
	before := testenv.Writes(t)
	l.request("web", l.clusterName("ca"), nil)
	l.issued("web")
	testenv.Eventually(t, "the cache to show what was", func() error {
		if cache.old() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	l.exactly("a cache that is behind", before, statusOnly)
}
