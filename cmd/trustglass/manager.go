package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"

	"github.com/trustglass/trustglass/issuance"
	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/source"
	"github.com/trustglass/trustglass/reflector"
	"github.com/trustglass/trustglass/trust"
	"github.com/trustglass/trustglass/trust/inject"
)

// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Names of the controllers, as --controllers takes them.
const (
	ctrlCertificates = "certificates"
	ctrlRequests     = "certificaterequests"
	ctrlApprover     = "certificaterequests-approver"
	ctrlIssuers      = "issuers"
	ctrlClusterIss   = "clusterissuers"
	ctrlSecrets      = "reflector-secrets"
	ctrlConfigMaps   = "reflector-configmaps"
	ctrlBundles      = "bundles"
)

func controllerNames() []string {
	return append([]string{
		ctrlCertificates, ctrlRequests, ctrlApprover, ctrlIssuers, ctrlIngresses, ctrlGateways, ctrlListenerSets,
	}, acrossNamespaces()...)
}

// acrossNamespaces lists the controllers that are off where the daemon works in one namespace.
func acrossNamespaces() []string {
	return append([]string{ctrlClusterIss, ctrlSecrets, ctrlConfigMaps, ctrlBundles}, injectorNames()...)
}

// selectControllers reads --controllers: "*" and names add, "-name" takes away, whatever the order.
func selectControllers(list []string) (map[string]bool, error) {
	on := map[string]bool{}
	var errs []error
	for _, item := range list {
		name := strings.TrimPrefix(item, "-")
		switch {
		case item == "*":
			for _, n := range controllerNames() {
				on[n] = true
			}
		case !slices.Contains(controllerNames(), name):
			errs = append(errs, fmt.Errorf("there is no controller %q: the names are %s", name, strings.Join(controllerNames(), ", ")))
		case name == item:
			on[name] = true
		}
	}
	for _, item := range list {
		if name, minus := strings.CutPrefix(item, "-"); minus {
			delete(on, name)
		}
	}
	if len(on) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("nothing is left to run"))
	}
	return on, errors.Join(errs...)
}

// running tells which controllers run: --controllers and cainjector's switches select them, and what works across namespaces is off
// where the daemon works in one.
func (c *Config) running() (map[string]bool, error) {
	on, err := selectControllers(append(slices.Clone(c.Controllers), c.compat.switchedOff()...))
	if c.Namespace != "" {
		for _, name := range acrossNamespaces() {
			delete(on, name)
		}
	}
	return on, err
}

// app is the daemon with everything that its controllers are made from.
type app struct {
	cfg    Config
	on     map[string]bool
	mgr    ctrl.Manager
	dog    *watchdog
	reads  *scrapes
	config *rest.Config
	events record.EventBroadcaster

	secrets *issuance.Secrets
	signer  *issuance.Signer
}

// run is the daemon: it returns when ctx ends and everything has come to rest, or when something made it stop.
func run(ctx context.Context, cfg Config) error {
	logger := logr.FromContextOrDiscard(ctx)
	log.SetLogger(logger)
	logger.Info("starting", "version", version, "controllers", cfg.Controllers)
	a, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer a.events.Shutdown()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := a.mgr.Add(newElections(a, stop)); err != nil {
		return fmt.Errorf("adding the elections: %w", err)
	}
	if err := a.mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	logger.Info("stopped")
	return nil
}

func newApp(ctx context.Context, cfg Config) (*app, error) {
	on, err := cfg.running()
	if err != nil {
		return nil, err
	}
	config, err := loadKubeconfig(cfg.Kubeconfig)
	if err != nil {
		return nil, err
	}
	dog, reads := &watchdog{now: timeNow, gather: metrics.Registry}, &scrapes{}
	mgr, err := newManager(config, cfg, dog, reads)
	if err != nil {
		return nil, err
	}
	a := &app{cfg: cfg, on: on, mgr: mgr, dog: dog, reads: reads, config: config}
	sink, err := newEventSink(config)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(sink); err != nil {
		return nil, fmt.Errorf("adding the sender of Events: %w", err)
	}
	// The correlator's default of 4096 entries costs more memory than a thousand Certificates.
	a.events = record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{LRUCacheSize: 256}))
	a.events.StartRecordingToSink(sink)
	a.secrets = &issuance.Secrets{Live: mgr.GetAPIReader(), Cache: mgr.GetCache()}
	a.signer = &issuance.Signer{Cache: mgr.GetCache(), Secrets: a.secrets, ClusterNamespace: cfg.ClusterResourceNamespace}
	if cfg.IgnoreCALifetime {
		a.signer.Lifetime = issuer.Ignored
	}
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// loadKubeconfig returns the API server's address and our credentials. Nothing limits the rate on our side: the API server's
// priority and fairness does.
func loadKubeconfig(path string) (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: path}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("loading the credentials for the API server (outside of a cluster name a file with --kubeconfig): %w", err)
	}
	config.UserAgent = "trustglass/" + version
	config.QPS = -1
	return config, nil
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(cmapi.AddToScheme(s))
	utilruntime.Must(trustapi.AddToScheme(s))
	utilruntime.Must(source.AddToScheme(s))
	return s
}

// reconcileTimeout bounds one reconcile and with it every call that it makes. What is left of a wide fan-out goes on with the next.
const reconcileTimeout = 5 * time.Minute

func newManager(kubeconfig *rest.Config, cfg Config, dog *watchdog, reads *scrapes) (ctrl.Manager, error) {
	mgr, err := ctrl.NewManager(kubeconfig, ctrl.Options{
		Scheme:   newScheme(),
		NewCache: newCache,
		Cache:    cacheOptions(cfg, dog),
		Client: client.Options{
			Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}},
			// What is written comes from typed objects: the API server need not parse it a second time to look for misspelt fields.
			FieldValidation: metav1.FieldValidationIgnore,
		},
		Controller:              config.Controller{ReconciliationTimeout: reconcileTimeout},
		Metrics:                 reads.metricsOptions(&cfg),
		HealthProbeBindAddress:  cfg.HealthProbeBindAddress,
		PprofBindAddress:        cfg.ProfilingBindAddress,
		LivenessEndpointName:    "/livez",
		ReadinessEndpointName:   "/readyz",
		GracefulShutdownTimeout: &cfg.ShutdownGracePeriod.Duration,
	})
	if err != nil {
		return nil, fmt.Errorf("building the manager: %w", err)
	}
	return mgr, nil
}

func cacheOptions(cfg Config, dog *watchdog) cache.Options {
	o := cache.Options{DefaultTransform: trim(cfg.TrustNamespace), NewInformer: dog.newInformer}
	if cfg.Namespace != "" {
		o.DefaultNamespaces = map[string]cache.Config{cfg.Namespace: {}}
	}
	return o
}

func (a *app) recorder(component string) record.EventRecorder {
	return a.events.NewRecorder(a.mgr.GetScheme(), corev1.EventSource{Component: component})
}

// prepare registers metrics, indexes, probes, and the informers that fill while the Leases are waited for.
func (a *app) prepare(ctx context.Context) error {
	for _, register := range []func() error{
		func() error { return metrics.Registry.Register(eventsDropped) },
		func() error { return issuance.RegisterMetrics(metrics.Registry) },
		func() error { return reflector.RegisterMetrics(metrics.Registry) },
		func() error { return trust.RegisterMetrics(metrics.Registry) },
		func() error { return source.RegisterMetrics(metrics.Registry) },
		func() error { return inject.RegisterMetrics(metrics.Registry) },
		func() error { return issuance.IndexFields(ctx, a.mgr.GetFieldIndexer()) },
		func() error { return reflector.IndexFields(ctx, a.mgr.GetFieldIndexer()) },
	} {
		if err := register(); err != nil {
			return fmt.Errorf("preparing: %w", err)
		}
	}
	if err := a.reads.serveMetricsTLS(a.mgr, &a.cfg); err != nil {
		return err
	}
	if a.issues() {
		a.reads.more = objectMetrics(a.mgr.GetCache())
	}
	objects, err := a.watched(a.mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	for _, obj := range objects {
		if _, err := a.mgr.GetCache().GetInformer(ctx, obj, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watching %T: %w", obj, err)
		}
	}
	if err := a.mgr.Add(a.dog); err != nil {
		return fmt.Errorf("adding the watchdog: %w", err)
	}
	if err := a.mgr.Add(manager.RunnableFunc(giveBack)); err != nil {
		return fmt.Errorf("adding what gives memory back: %w", err)
	}
	return errors.Join(
		a.startWebhook(ctx),
		a.mgr.AddHealthzCheck("watchdog", a.dog.check),
		a.mgr.AddHealthzCheck("ping", healthz.Ping),
		a.mgr.AddReadyzCheck("caches", a.dog.ready),
	)
}

// watched lists everything that is watched: metadata of the core kinds, whole objects of our own. Of what is not within namespaces a
// daemon for one watches ClusterIssuers only, which may sign for it, and CertificateSigningRequests where it is told to.
func (a *app) watched(mapper meta.RESTMapper) ([]client.Object, error) {
	list := []client.Object{metadataOf("Secret"), metadataOf("ConfigMap")}
	if a.on[ctrlSecrets] || a.on[ctrlConfigMaps] || a.on[ctrlBundles] {
		list = append(list, metadataOf("Namespace"))
	}
	if a.issues() {
		list = append(list, &cmapi.Certificate{}, &cmapi.CertificateRequest{}, &cmapi.Issuer{}, &cmapi.ClusterIssuer{})
	}
	sources, err := a.sourceWatches(mapper)
	if err != nil {
		return nil, err
	}
	list = append(list, sources...)
	if a.signsSigningRequests() {
		list = append(list, &certificatesv1.CertificateSigningRequest{})
	}
	if a.on[ctrlBundles] {
		list = append(list, &trustapi.Bundle{})
	}
	return append(list, a.injectorWatches()...), nil
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

func (a *app) issues() bool {
	return a.makesCertificates() || a.on[ctrlCertificates] || a.on[ctrlRequests] || a.on[ctrlApprover] || a.on[ctrlIssuers] || a.on[ctrlClusterIss]
}

// makesCertificates tells whether Certificates are made for other objects.
func (a *app) makesCertificates() bool {
	return a.on[ctrlIngresses] || a.on[ctrlGateways] || a.on[ctrlListenerSets]
}

// signsSigningRequests tells whether Kubernetes' own CertificateSigningRequests are signed.
func (a *app) signsSigningRequests() bool {
	on, err := parseGates(a.cfg.FeatureGates) // Validate has seen an error
	return err == nil && on[gateSigningRequests] && a.on[ctrlRequests]
}

// startIssuance sets up what signs. The caches are filled by then.
func (a *app) startIssuance() error {
	approver := issuance.Approver{
		Enabled: a.on[ctrlApprover], Signers: a.cfg.ApproveSignerNames, Rights: &issuance.Rights{Client: a.mgr.GetClient()},
	}
	var certificates *issuance.Certificates
	if a.on[ctrlCertificates] {
		identity, err := a.identity()
		if err != nil {
			return err
		}
		certificates = &issuance.Certificates{
			Identity: identity,
			Client:   a.mgr.GetClient(), Cache: a.mgr.GetCache(), Secrets: a.secrets, Signer: a.signer,
			Events: a.recorder(issuance.FieldManager), Approver: approver,
			// Without a controller for requests here, somebody else signs.
			SignAtOnce:        a.on[ctrlRequests],
			BackOff:           issuance.BackOff{Base: a.cfg.CertificateRequestMinimumBackoffDuration.Duration, Max: a.cfg.CertificateRequestMaximumBackoffDuration.Duration},
			OwnSecrets:        a.cfg.EnableCertificateOwnerRef,
			CopiedAnnotations: a.cfg.CopiedAnnotationPrefixes,
			Workers:           a.cfg.ConcurrentWorkers,
		}
		if err := certificates.Setup(a.mgr); err != nil {
			return err
		}
	}
	if a.on[ctrlRequests] || a.on[ctrlApprover] {
		requests := &issuance.Requests{
			Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Secrets: a.secrets, Signer: a.signer,
			Events: a.recorder("cert-manager-certificaterequests"), Approver: approver, Sign: a.on[ctrlRequests], Workers: a.cfg.ConcurrentWorkers,
		}
		if err := requests.Setup(a.mgr, certificates); err != nil {
			return err
		}
	}
	for name, kind := range map[string]string{ctrlIssuers: cmapi.IssuerKind, ctrlClusterIss: cmapi.ClusterIssuerKind} {
		if !a.on[name] {
			continue
		}
		r := &issuance.Issuers{
			Kind: kind, Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Secrets: a.secrets,
			Events: a.recorder("cert-manager-" + name), ClusterNamespace: a.cfg.ClusterResourceNamespace,
			Lifetime: a.signer.Lifetime,
		}
		if err := r.Setup(a.mgr); err != nil {
			return err
		}
	}
	if a.signsSigningRequests() {
		if err := a.startSigningRequests(); err != nil {
			return err
		}
	}
	return a.startSources()
}

// identity asks the API server who we are.
func (a *app) identity() (issuance.Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	self := &authenticationv1.SelfSubjectReview{}
	if err := a.mgr.GetClient().Create(ctx, self); err != nil {
		return issuance.Identity{}, fmt.Errorf("asking the API server who we are: %w", err)
	}
	u := self.Status.UserInfo
	return issuance.Identity{Username: u.Username, UID: u.UID, Groups: u.Groups}, nil
}

// startReflector sets up what mirrors.
func (a *app) startReflector() error {
	for name, kind := range map[string]string{ctrlSecrets: reflector.KindSecret, ctrlConfigMaps: reflector.KindConfigMap} {
		if !a.on[name] {
			continue
		}
		r := &reflector.Reconciler{
			Kind: kind, Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Events: a.recorder("trustglass-reflector"),
			Namespace: a.cfg.OwnNamespace, ExcludedNamespaces: a.cfg.ReflectorExcludedNamespaces, Parallel: a.cfg.ParallelWrites,
		}
		if err := r.Setup(a.mgr); err != nil {
			return err
		}
	}
	return nil
}

// startTrust sets up what publishes.
func (a *app) startTrust() error {
	r := &trust.Reconciler{
		Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Live: a.mgr.GetAPIReader(), Events: a.recorder("trust-manager"),
		TrustNamespace: a.cfg.TrustNamespace, FilterExpired: a.cfg.FilterExpiredCertificates, FilterNonCA: a.cfg.FilterNonCACerts,
		Workers: a.cfg.ConcurrentWorkers, Parallel: a.cfg.ParallelWrites,
	}
	return r.Setup(a.mgr)
}
