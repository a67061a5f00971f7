package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	mirrorSources, mirrorNamespaces = 20, 300
	bundleCount, bundleNamespaces   = 5, 500
	rawClients                      = 32
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
	copied, err := l.fanOut(ctx, "POST secrets", mirrorSources*mirrorNamespaces, mirrorSources, func(ctx context.Context, i int) error {
		return l.admin.Create(ctx, mirrorSource(i, "first"))
	})
	if err != nil {
		return nil, fmt.Errorf("first copy: %w", err)
	}
	updated, err := l.fanOut(ctx, "secrets", mirrorSources*mirrorNamespaces, mirrorSources, func(ctx context.Context, i int) error {
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
		Namespace: "source-000", Name: fmt.Sprintf("mirrored-%02d", i),
		Annotations: map[string]string{
			"reflector.v1.k8s.emberstack.com/reflection-allowed":            "true",
			"reflector.v1.k8s.emberstack.com/reflection-allowed-namespaces": "edge-.*",
			"reflector.v1.k8s.emberstack.com/reflection-auto-enabled":       "true",
		},
	}, Data: payload(version)}
}

// benchBundles publishes 5 bundles in 500 namespaces each and compares with plain creates of ConfigMaps of the same size.
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
	raw, err := l.rawCreates(ctx, namespaces, bundleCount, func(namespace string, i int) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("raw-%d", i)},
			Data: map[string]string{"ca.crt": string(root.Data["tls.crt"])}}
	})
	if err != nil {
		return nil, err
	}
	published, err := l.fanOut(ctx, "configmaps", bundleCount*bundleNamespaces, bundleCount, func(ctx context.Context, i int) error {
		b := object("Bundle", "trust.cert-manager.io/v1alpha1", map[string]any{"spec": map[string]any{
			"sources": []any{map[string]any{"secret": map[string]any{"name": "root", "key": "tls.crt"}}},
			"target": map[string]any{
				"configMap":         map[string]any{"key": "ca.crt"},
				"namespaceSelector": map[string]any{"matchLabels": map[string]any{"trust": "bench"}},
			},
		}})
		b.SetName(fmt.Sprintf("bundle-%d", i))
		return l.admin.Create(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		against("bundle targets", published.rate, raw, "targets/s"),
		{Name: "writes per bundle target", Value: published.writes / (bundleCount * bundleNamespaces), Unit: "writes"},
	}, nil
}

// rawCreates creates so many objects in each namespace from 32 connections and returns the rate.
func (l *lab) rawCreates(ctx context.Context, namespaces []string, each int, object func(namespace string, i int) client.Object) (float64, error) {
	start := time.Now()
	n := len(namespaces) * each
	err := parallel(ctx, n, rawClients, func(ctx context.Context, i int) error {
		return l.admin.Create(ctx, object(namespaces[i%len(namespaces)], i/len(namespaces)))
	})
	if err != nil {
		return 0, fmt.Errorf("creating objects without the daemon: %w", err)
	}
	rate := float64(n) / time.Since(start).Seconds()
	return rate, l.settle(ctx)
}

// fan is the outcome of a fan-out: copies per second, and the writes of the daemon.
type fan struct{ rate, writes float64 }

// fanOut triggers n fan-outs and counts, at the API server, the writes that they cause on the kinds named, until there are
// want. The clock runs from the first trigger to the last of those writes.
func (l *lab) fanOut(ctx context.Context, key string, want, n int, trigger func(context.Context, int) error) (fan, error) {
	if err := l.settle(ctx); err != nil {
		return fan{}, err
	}
	before, err := l.writes(ctx)
	if err != nil {
		return fan{}, err
	}
	start := time.Now()
	if err := parallel(ctx, n, n, trigger); err != nil {
		return fan{}, fmt.Errorf("triggering: %w", err)
	}
	own := float64(n)
	if key == "configmaps" { // the triggers are writes of another kind
		own = 0
	}
	var took time.Duration
	err = eventually(ctx, 5*time.Minute, func() error {
		now, err := l.writes(ctx)
		if err != nil {
			return err
		}
		done := -own
		for k, v := range now.minus(before).byKey {
			if strings.HasSuffix(k, key) {
				done += v
			}
		}
		took = time.Since(start)
		if done < float64(want) {
			time.Sleep(40 * time.Millisecond) // the API server's metrics are not free
			return fmt.Errorf("%.0f of %d are written", done, want)
		}
		return nil
	})
	if err != nil {
		return fan{}, err
	}
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
