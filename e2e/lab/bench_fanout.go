package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	mirrorSources, mirrorNamespaces = 20, 300
	bundleCount, bundleNamespaces   = 5, 500
	bundleRounds                    = 4 // one lasts 3 s, in which a collection of garbage shows
	rawClients                      = 32
	sourceNamespace                 = "source-000"
)

// benchMirrors copies 20 Secrets into 300 namespaces each, then changes the sources, and compares both with plain creates of
// Secrets of the same size.
func benchMirrors(ctx context.Context, l *lab) ([]figure, error) {
	namespaces, err := l.makeNamespaces(ctx, "edge", mirrorNamespaces, nil)
	if err != nil {
		return nil, err
	}
	if _, err := l.makeNamespaces(ctx, "source", 1, nil); err != nil {
		return nil, err
	}
	raw, err := l.rawCreates(ctx, namespaces, mirrorSources, func(namespace string, i int) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("raw-%d", i)}, Data: payload("first")}
	})
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	copied, err := l.fanOut(ctx, "secrets", "mirrored-", mirrorSources*mirrorNamespaces, mirrorSources, func(ctx context.Context, i int) error {
		return l.admin.Create(ctx, mirrorSource(i, "first"))
	})
	if err != nil {
		return nil, fmt.Errorf("first copy: %w", err)
	}
	updated, err := l.fanOut(ctx, "secrets", "mirrored-", mirrorSources*mirrorNamespaces, mirrorSources, func(ctx context.Context, i int) error {
		return l.admin.Update(ctx, mirrorSource(i, "second"))
	})
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	return []figure{
		against("mirrors, first copy", copied.rate, raw, "mirrors/s"),
		against("mirrors, update", updated.rate, raw, "mirrors/s"),
		{Name: "writes per mirror, copy and update", Value: (copied.writes + updated.writes) / (2 * mirrorSources * mirrorNamespaces), Unit: "writes"},
	}, nil
}

func payload(version string) map[string][]byte {
	return map[string][]byte{"a": []byte(version + strings.Repeat("x", 1024)), "b": []byte(strings.Repeat("y", 1024))}
}

func mirrorSource(i int, version string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: sourceNamespace, Name: fmt.Sprintf("mirrored-%02d", i),
		Annotations: map[string]string{
			"reflector.v1.k8s.emberstack.com/reflection-allowed":            "true",
			"reflector.v1.k8s.emberstack.com/reflection-allowed-namespaces": "edge-.*",
			"reflector.v1.k8s.emberstack.com/reflection-auto-enabled":       "true",
		},
	}, Data: payload(version)}
}

// benchBundles publishes 5 bundles in 500 namespaces each and compares with plain creates of ConfigMaps of the same size, in turns.
func benchBundles(ctx context.Context, l *lab) ([]figure, error) {
	namespaces, err := l.makeNamespaces(ctx, "client", bundleNamespaces, map[string]string{"trust": "bench"})
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	if err := l.makeCA(ctx); err != nil {
		return nil, err
	}
	root := &corev1.Secret{}
	if err := l.admin.Get(ctx, client.ObjectKey{Namespace: "cert-manager", Name: "root"}, root); err != nil {
		return nil, fmt.Errorf("reading the root: %w", err)
	}
	var raw, published, writes float64
	for round := range bundleRounds {
		rate, err := l.rawCreates(ctx, namespaces, bundleCount, func(namespace string, i int) client.Object {
			return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("raw-%d-%d", round, i)},
				Data: map[string]string{"ca.crt": string(root.Data["tls.crt"])}}
		})
		if err != nil {
			return nil, err
		}
		prefix := fmt.Sprintf("bundle-%d-", round)
		out, err := l.fanOut(ctx, "configmaps", prefix, bundleCount*bundleNamespaces, bundleCount, func(ctx context.Context, i int) error {
			return l.admin.Create(ctx, benchBundle(fmt.Sprintf("%s%d", prefix, i)))
		})
		if err != nil {
			return nil, err
		}
		raw, published, writes = raw+1/rate, published+1/out.rate, writes+out.writes
	}
	return []figure{
		against("bundle targets", bundleRounds/published, bundleRounds/raw, "targets/s"),
		{Name: "writes per bundle target", Value: writes / (bundleRounds * bundleCount * bundleNamespaces), Unit: "writes"},
	}, nil
}

// benchBundle publishes the root in the namespaces of the benchmark.
func benchBundle(name string) client.Object {
	b := object("Bundle", "trust.cert-manager.io/v1alpha1", map[string]any{"spec": map[string]any{
		"sources": []any{map[string]any{"secret": map[string]any{"name": "root", "key": "tls.crt"}}},
		"target": map[string]any{
			"configMap":         map[string]any{"key": "ca.crt"},
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"trust": "bench"}},
		},
	}})
	b.SetName(name)
	return b
}

// rawCreates creates so many objects in each namespace with 32 requests under way, with the daemon's rights, and returns the rate.
func (l *lab) rawCreates(ctx context.Context, namespaces []string, each int, object func(namespace string, i int) client.Object) (float64, error) {
	plain, err := l.plainClient(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	n := len(namespaces) * each
	err = parallel(ctx, n, rawClients, func(ctx context.Context, i int) error {
		return plain.Create(ctx, object(namespaces[i%len(namespaces)], i/len(namespaces)))
	})
	if err != nil {
		return 0, fmt.Errorf("creating objects without the daemon: %w", err)
	}
	rate := float64(n) / time.Since(start).Seconds()
	return rate, l.settle(ctx)
}

// fan is the outcome of a fan-out: copies per second, and the writes of the daemon.
type fan struct{ rate, writes float64 }

// fanOut triggers n fan-outs and watches until want objects of resource whose name begins with prefix have been written outside
// the sources' namespace. The clock runs from the first trigger to the last of those events, on the watcher's side.
func (l *lab) fanOut(ctx context.Context, resource, prefix string, want, n int, trigger func(context.Context, int) error) (fan, error) {
	if err := l.settle(ctx); err != nil {
		return fan{}, err
	}
	before, err := l.writes(ctx)
	if err != nil {
		return fan{}, err
	}
	w, err := l.watchWritten(ctx, resource)
	if err != nil {
		return fan{}, err
	}
	defer w.Stop()
	start := time.Now()
	if err := parallel(ctx, n, n, trigger); err != nil {
		return fan{}, fmt.Errorf("triggering: %w", err)
	}
	if err := awaitWritten(ctx, w, prefix, want); err != nil {
		return fan{}, err
	}
	took := time.Since(start)
	if err := l.settle(ctx); err != nil {
		return fan{}, err
	}
	after, err := l.writes(ctx)
	if err != nil {
		return fan{}, err
	}
	spent := after.minus(before)
	if spent.conflicts > 0.01*float64(want) {
		return fan{}, errors.New("more than 1 % of the writes were answered 409")
	}
	return fan{rate: float64(want) / took.Seconds(), writes: spent.total - float64(n)}, nil
}

// watchWritten watches metadata only and from now on, which costs the API server little beside the writes themselves.
func (l *lab) watchWritten(ctx context.Context, resource string) (watch.Interface, error) {
	c, err := metadata.NewForConfig(l.plane.Admin)
	if err != nil {
		return nil, fmt.Errorf("building a client: %w", err)
	}
	kind := c.Resource(corev1.SchemeGroupVersion.WithResource(resource))
	now, err := kind.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("looking up the version to watch from: %w", err)
	}
	w, err := kind.Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", resource, err)
	}
	return w, nil
}

// awaitWritten returns when w has shown want different objects whose name begins with prefix, sources apart.
func awaitWritten(ctx context.Context, w watch.Interface, prefix string, want int) error {
	limit := time.After(5 * time.Minute)
	seen := map[types.NamespacedName]bool{}
	for len(seen) < want {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended when %d of %d were written", len(seen), want)
			}
			obj, ok := e.Object.(*metav1.PartialObjectMetadata)
			if ok && strings.HasPrefix(obj.Name, prefix) && obj.Namespace != sourceNamespace {
				seen[types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}] = true
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("%d of %d are written after 5 minutes", len(seen), want)
		}
	}
	return nil
}
