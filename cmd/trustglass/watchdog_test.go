package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

type fakeInformer struct {
	synced  bool
	version string
}

func (f *fakeInformer) HasSynced() bool                 { return f.synced }
func (f *fakeInformer) LastSyncResourceVersion() string { return f.version }

func TestWatchdogNoticesADeadWatch(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	alive, dead := &fakeInformer{synced: true, version: "1"}, &fakeInformer{synced: true, version: "1"}
	d := &watchdog{now: func() time.Time { return now }, gather: prometheus.NewRegistry(), watches: []*watched{
		{name: "Alive", informer: alive, since: now}, {name: "Dead", informer: dead, since: now},
	}}
	for range 4 {
		d.look()
		if err := d.check(nil); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		now = now.Add(watchSilence / 4)
		alive.version += "1"
	}
	now = now.Add(time.Minute)
	d.look()
	err := d.check(nil)
	if err == nil || !strings.Contains(err.Error(), "Dead") || strings.Contains(err.Error(), "Alive") {
		t.Errorf("with one dead watch: %v", err)
	}
	dead.version = "9"
	d.look()
	if err := d.check(nil); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestWatchdogNoticesAStalledWorker(t *testing.T) {
	reg := prometheus.NewRegistry()
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "workqueue_longest_running_processor_seconds"}, []string{"name"})
	reg.MustRegister(running)
	d := &watchdog{now: time.Now, gather: reg}
	running.WithLabelValues("certificates").Set(30)
	if err := d.check(nil); err != nil {
		t.Errorf("a worker busy for 30 s: %v", err)
	}
	running.WithLabelValues("certificates").Set(3600)
	if err := d.check(nil); err == nil || !strings.Contains(err.Error(), "certificates") {
		t.Errorf("a worker busy for an hour: %v", err)
	}
}

// Whatever the cache watches is watched over, in one namespace too, where its informers can't tell their progress.
func TestEveryInformerIsWatchedOver(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	mapper.Add(cmapi.SchemeGroupVersion.WithKind("Certificate"), meta.RESTScopeNamespace)
	mapper.Add(cmapi.SchemeGroupVersion.WithKind("ClusterIssuer"), meta.RESTScopeRoot)
	mapper.Add(gatewayKind("Gateway"), meta.RESTScopeNamespace)
	for _, namespace := range []string{"", "shop"} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		dog := &watchdog{now: func() time.Time { return now }, gather: prometheus.NewRegistry()}
		cfg := defaultConfig()
		cfg.Namespace = namespace
		opts := cacheOptions(cfg, dog)
		opts.Scheme, opts.Mapper = newScheme(), mapper
		caches, err := newCache(&rest.Config{Host: "https://192.0.2.1"}, opts) // nothing is asked before a start
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range []client.Object{metadataOf("Secret"), &cmapi.Certificate{}, &cmapi.ClusterIssuer{}, &gwapi.Gateway{}, &gwapi.Gateway{}} {
			if _, err := caches.GetInformer(t.Context(), obj, cache.BlockUntilSynced(false)); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		for _, w := range dog.watches {
			names = append(names, w.name)
		}
		if diff := cmp.Diff([]string{"Secret", "Certificate", "ClusterIssuer", "Gateway"}, names); diff != "" {
			t.Errorf("in namespace %q (-want +got):\n%s", namespace, diff)
		}
		if err := dog.ready(nil); err == nil || !strings.Contains(err.Error(), "the cache of Secret is not filled yet") {
			t.Errorf("in namespace %q, before the caches are filled: %v", namespace, err)
		}
		now = now.Add(watchSilence + time.Minute)
		dog.look()
		if err := dog.check(nil); err == nil || !strings.Contains(err.Error(), "the watch of Gateway has shown no progress") {
			t.Errorf("in namespace %q, when nothing has come for long: %v", namespace, err)
		}
	}
}

func TestReadyWaitsForEveryCache(t *testing.T) {
	f := &fakeInformer{}
	d := &watchdog{now: time.Now, watches: []*watched{{name: "Secret", informer: f}}}
	if err := d.ready(nil); err == nil || !strings.Contains(err.Error(), "Secret") {
		t.Errorf("before the cache is filled: %v", err)
	}
	f.synced = true
	if err := d.ready(nil); err != nil {
		t.Errorf("after: %v", err)
	}
}

// What a daemon watches from its start depends on what it runs, and on whether the cluster serves the Gateway API.
func TestWatched(t *testing.T) {
	bare, served := meta.NewDefaultRESTMapper(nil), meta.NewDefaultRESTMapper(nil)
	for _, m := range []*meta.DefaultRESTMapper{bare, served} {
		m.Add(networkingv1.SchemeGroupVersion.WithKind("Ingress"), meta.RESTScopeNamespace)
	}
	served.Add(gatewayKind("Gateway"), meta.RESTScopeNamespace)
	served.Add(gatewayKind("ListenerSet"), meta.RESTScopeNamespace)
	for _, tc := range []struct {
		reason string
		args   []string
		mapper meta.RESTMapper
		want   []string // beside Secrets and ConfigMaps
	}{
		{"issuing and Gateways", []string{"--controllers=certificates,ingress-shim,gateway-shim", "--enable-gateway-api"}, served,
			[]string{"Certificate", "CertificateRequest", "ClusterIssuer", "Gateway", "Ingress", "Issuer"}},
		{"ListenerSets bring their Gateways", []string{"--controllers=listenerset", "--enable-gateway-api", "--enable-gateway-api-listenerset", "--feature-gates=ListenerSets=true"}, served,
			[]string{"Certificate", "CertificateRequest", "ClusterIssuer", "Gateway", "Issuer", "ListenerSet"}},
		{"a Gateway API that is not there", []string{"--controllers=gateway-shim,ingress-shim", "--enable-gateway-api"}, bare,
			[]string{"Certificate", "CertificateRequest", "ClusterIssuer", "Ingress", "Issuer"}},
		{"a Gateway API that is off", []string{"--controllers=gateway-shim"}, served, []string{"Certificate", "CertificateRequest", "ClusterIssuer", "Issuer"}},
		{"publishing", []string{"--controllers=bundles"}, bare, []string{"Bundle", "Namespace"}},
		{"mirroring", []string{"--controllers=reflector-secrets"}, bare, []string{"Namespace"}},
		{"one namespace: ClusterIssuers may sign there", []string{"--namespace=shop"}, bare, []string{"Certificate", "CertificateRequest", "ClusterIssuer", "Ingress", "Issuer"}},
	} {
		cfg, err := load(t, "", nil, tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		on, err := cfg.running()
		if err != nil {
			t.Fatal(err)
		}
		objects, err := (&app{cfg: cfg, on: on}).watched(tc.mapper)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range objects {
			gvk, err := apiutil.GVKForObject(o, newScheme())
			if err != nil {
				t.Fatal(err)
			}
			if gvk.Kind != "Secret" && gvk.Kind != "ConfigMap" {
				got = append(got, gvk.Kind)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(tc.want, slices.Compact(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func gatewayKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: gwapi.GroupName, Version: gwapi.GroupVersion.Version, Kind: kind}
}
