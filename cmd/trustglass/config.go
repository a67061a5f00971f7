package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/trustglass/trustglass/issuance"
)

// Config holds every setting of the daemon. Each field is a key of the config file, a flag and an environment variable:
// clusterResourceNamespace, --cluster-resource-namespace and TRUSTGLASS_CLUSTER_RESOURCE_NAMESPACE are one. A flag wins over
// the environment, which wins over the file.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Empty means the pod's own ServiceAccount.
	Kubeconfig string `json:"kubeconfig"`
	// OwnNamespace is the namespace that the daemon runs in: the default of the two below, and closed to automatic mirrors.
	OwnNamespace string `json:"ownNamespace"`
	// ClusterResourceNamespace is where the Secrets of ClusterIssuers lie. Empty means OwnNamespace.
	ClusterResourceNamespace string `json:"clusterResourceNamespace"`
	// TrustNamespace is where Bundles find their sources. Empty means OwnNamespace.
	TrustNamespace string `json:"trustNamespace"`

	// Controllers lists what runs: names from the list of controllers, "*" for all, "-name" to take one away.
	Controllers []string `json:"controllers"`
	// ConcurrentWorkers is how many Certificates are worked on at a time, and how many CertificateRequests, Ingresses, and Bundles.
	ConcurrentWorkers int `json:"concurrentWorkers"`
	// ParallelWrites is how many mirrors, and how many bundle targets, are written at a time.
	ParallelWrites int `json:"parallelWrites"`

	// EnableCertificateOwnerRef makes a Certificate own its Secret, so that deleting one deletes the other.
	EnableCertificateOwnerRef bool `json:"enableCertificateOwnerRef"`
	// CopiedAnnotationPrefixes are prefixes of the annotations that a CertificateRequest inherits from its Certificate; a
	// leading "-" takes some away.
	CopiedAnnotationPrefixes []string `json:"copiedAnnotationPrefixes"`
	// ApproveSignerNames lists the issuers whose requests are approved without anybody being asked. Those of other groups are approved too
	// where the daemon has the right: the verb approve on signers.cert-manager.io of that name.
	ApproveSignerNames []string `json:"approveSignerNames"`
	// CertificateRequestMinimumBackoffDuration is the pause after a first failed issuance; it doubles with each failure.
	CertificateRequestMinimumBackoffDuration metav1.Duration `json:"certificateRequestMinimumBackoffDuration"`
	// CertificateRequestMaximumBackoffDuration is the longest such pause.
	CertificateRequestMaximumBackoffDuration metav1.Duration `json:"certificateRequestMaximumBackoffDuration"`

	// Namespace limits the daemon to the Certificates, requests, Issuers and Ingresses of one namespace; what works across
	// namespaces is off then. Empty means all.
	Namespace string `json:"namespace"`
	// FeatureGates are cert-manager's, as Name=true or Name=false.
	FeatureGates []string `json:"featureGates"`

	// DefaultIssuerName, Kind and Group are the issuer of Ingresses that ask for a certificate and name no issuer.
	DefaultIssuerName  string `json:"defaultIssuerName"`
	DefaultIssuerKind  string `json:"defaultIssuerKind"`
	DefaultIssuerGroup string `json:"defaultIssuerGroup"`
	// AutoCertificateAnnotations are annotations that ask for a certificate of the default issuer when they are "true".
	AutoCertificateAnnotations []string `json:"autoCertificateAnnotations"`
	// ExtraCertificateAnnotations are annotations of an Ingress or Gateway that its Certificates inherit.
	ExtraCertificateAnnotations []string `json:"extraCertificateAnnotations"`
	// EnableGatewayAPI makes Certificates for Gateways, and EnableGatewayAPIListenerSet for ListenerSets too.
	EnableGatewayAPI            bool `json:"enableGatewayAPI"`
	EnableGatewayAPIListenerSet bool `json:"enableGatewayAPIListenerSet"`
	// GatewayAPIExtraProtocols are listener protocols that carry TLS beside HTTPS and TLS.
	GatewayAPIExtraProtocols []string `json:"gatewayAPIExtraProtocols"`
	// IgnoreCALifetime has CAs sign as cert-manager's do: for longer than they last, and after they have expired.
	IgnoreCALifetime bool `json:"ignoreCALifetime"`
	// AllowSecretTemplateReflection lets an Ingress or Gateway ask for reflection annotations on its Secrets: whoever may edit
	// one can then spread the Secret.
	AllowSecretTemplateReflection bool `json:"allowSecretTemplateReflection"`

	// IgnoreNamespaces are namespaces whose Certificates and Secrets no CA is injected from.
	IgnoreNamespaces []string `json:"ignoreNamespaces"`
	// EnableCertificatesDataSource injects CAs from Certificates, not only from Secrets and the API server's own.
	EnableCertificatesDataSource bool `json:"enableCertificatesDataSource"`

	// WebhookBindAddress serves admission; "0" turns it off.
	WebhookBindAddress string `json:"webhookBindAddress"`
	// WebhookURL is where the API server reaches admission when the daemon runs outside of the cluster, such as
	// https://192.0.2.1:10250. Empty means by the Service.
	WebhookURL string `json:"webhookURL"`

	// ReflectorExcludedNamespaces are globs of namespaces whose objects are neither sources nor direct mirrors.
	ReflectorExcludedNamespaces []string `json:"reflectorExcludedNamespaces"`
	// FilterExpiredCertificates leaves expired certificates out of Bundles.
	FilterExpiredCertificates bool `json:"filterExpiredCertificates"`
	// FilterNonCACerts leaves certificates that are no CA out of Bundles.
	FilterNonCACerts bool `json:"filterNonCACerts"`

	// LeaderElect makes each feature wait for its Lease. Turn it off only where nothing else can run.
	LeaderElect bool `json:"leaderElect"`
	// LeaderElectionNamespace holds the Leases, that of Bundles apart, which lies in TrustNamespace.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// LeaseDuration is how long a Lease is good without being renewed: the pause after a crash.
	LeaseDuration metav1.Duration `json:"leaseDuration"`

	// MetricsBindAddress serves /metrics; "0" turns it off.
	MetricsBindAddress string `json:"metricsBindAddress"`
	// MetricsTLSCertFile and MetricsTLSPrivateKeyFile are the certificate, with its chain, and the key that /metrics is served with over
	// TLS. They are read again when they change.
	MetricsTLSCertFile       string `json:"metricsTLSCertFile"`
	MetricsTLSPrivateKeyFile string `json:"metricsTLSPrivateKeyFile"`
	// MetricsDynamicServingCASecretNamespace and Name are the Secret where the daemon keeps a CA instead, of which it serves /metrics with
	// a certificate for MetricsDynamicServingDNSNames, valid for MetricsDynamicServingLeafDuration. Whoever reads trusts its ca.crt.
	MetricsDynamicServingCASecretNamespace string          `json:"metricsDynamicServingCASecretNamespace"`
	MetricsDynamicServingCASecretName      string          `json:"metricsDynamicServingCASecretName"`
	MetricsDynamicServingDNSNames          []string        `json:"metricsDynamicServingDNSNames"`
	MetricsDynamicServingLeafDuration      metav1.Duration `json:"metricsDynamicServingLeafDuration"`
	// MetricsTLSMinVersion is VersionTLS12 or VersionTLS13; the older two are taken too. Empty means VersionTLS12.
	MetricsTLSMinVersion string `json:"metricsTLSMinVersion"`
	// MetricsTLSCipherSuites are the cipher suites of TLS 1.2 by IANA's names. Empty means Go's choice.
	MetricsTLSCipherSuites []string `json:"metricsTLSCipherSuites"`
	// HealthProbeBindAddress serves /livez and /readyz; "0" turns it off.
	HealthProbeBindAddress string `json:"healthProbeBindAddress"`
	// ProfilingBindAddress serves /debug/pprof; "0" turns it off. Profiles show nothing of Secrets but may slow the daemon down.
	ProfilingBindAddress string `json:"profilingBindAddress"`
	// ShutdownGracePeriod is how long work under way may take after the signal to stop.
	ShutdownGracePeriod metav1.Duration `json:"shutdownGracePeriod"`

	// LogFormat is console or json.
	LogFormat string `json:"logFormat"`
	// LogLevel is 0 for what an operator needs to know and 1 for detail.
	LogLevel int `json:"logLevel"`

	compat compat
}

const (
	formatConsole = "console"
	formatJSON    = "json"

	// minLeafDuration leaves a server's certificate a third of its time to be replaced in.
	minLeafDuration = time.Hour
)

// defaultConfig returns the settings that hold where nothing else is said.
func defaultConfig() Config {
	return Config{
		OwnNamespace:                             "cert-manager",
		Controllers:                              []string{"*"},
		ConcurrentWorkers:                        16,
		ParallelWrites:                           32,
		CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
		ApproveSignerNames:                       issuance.DefaultSigners(),
		CertificateRequestMinimumBackoffDuration: metav1.Duration{Duration: time.Hour},
		CertificateRequestMaximumBackoffDuration: metav1.Duration{Duration: 32 * time.Hour},
		DefaultIssuerKind:                        "Issuer",
		DefaultIssuerGroup:                       "cert-manager.io",
		AutoCertificateAnnotations:               []string{"kubernetes.io/tls-acme"},
		EnableCertificatesDataSource:             true,
		WebhookBindAddress:                       ":10250",
		LeaderElect:                              true,
		LeaderElectionNamespace:                  "kube-system",
		LeaseDuration:                            metav1.Duration{Duration: 30 * time.Second},
		MetricsBindAddress:                       ":9402",
		MetricsDynamicServingLeafDuration:        metav1.Duration{Duration: 7 * 24 * time.Hour},
		HealthProbeBindAddress:                   ":9403",
		ShutdownGracePeriod:                      metav1.Duration{Duration: 20 * time.Second},
		LogFormat:                                formatJSON,
	}
}

// addFlags binds every setting to a flag; c's values are the defaults.
func (c *Config) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig, "path of a kubeconfig file (default: the pod's ServiceAccount)")
	f.StringVar(&c.OwnNamespace, "own-namespace", c.OwnNamespace, "namespace that the daemon runs in")
	f.StringVar(&c.ClusterResourceNamespace, "cluster-resource-namespace", c.ClusterResourceNamespace, "namespace of the Secrets of ClusterIssuers (default: --own-namespace)")
	f.StringVar(&c.TrustNamespace, "trust-namespace", c.TrustNamespace, "namespace of the sources of Bundles (default: --own-namespace)")
	f.StringSliceVar(&c.Controllers, "controllers", c.Controllers, "what runs: '*', a name, or '-name' to take one away; names: "+strings.Join(controllerNames(), ", "))
	f.IntVar(&c.ConcurrentWorkers, "concurrent-workers", c.ConcurrentWorkers, "how many Certificates, requests, Ingresses, and Bundles, are worked on at a time")
	f.IntVar(&c.ParallelWrites, "parallel-writes", c.ParallelWrites, "mirrors, and bundle targets, written at a time")
	f.BoolVar(&c.EnableCertificateOwnerRef, "enable-certificate-owner-ref", c.EnableCertificateOwnerRef, "make a Certificate own its Secret: deleting one deletes the other")
	f.StringSliceVar(&c.CopiedAnnotationPrefixes, "copied-annotation-prefixes", c.CopiedAnnotationPrefixes, "annotations that a CertificateRequest inherits; '-prefix' takes some away")
	f.StringSliceVar(&c.ApproveSignerNames, "approve-signer-names", c.ApproveSignerNames, "issuers whose requests are approved; those of other groups are too where the daemon may approve for them")
	f.DurationVar(&c.CertificateRequestMinimumBackoffDuration.Duration, "certificate-request-minimum-backoff-duration", c.CertificateRequestMinimumBackoffDuration.Duration, "pause after a first failed issuance; doubles with each failure")
	f.DurationVar(&c.CertificateRequestMaximumBackoffDuration.Duration, "certificate-request-maximum-backoff-duration", c.CertificateRequestMaximumBackoffDuration.Duration, "longest pause after a failed issuance")
	f.StringVar(&c.Namespace, "namespace", c.Namespace, "the one namespace to work in (default: all)")
	f.StringSliceVar(&c.FeatureGates, "feature-gates", c.FeatureGates, "cert-manager's feature gates, as Name=true; those that change something: "+gateSigningRequests+", "+gateGatewayAPI+", "+gateListenerSets)
	f.StringVar(&c.DefaultIssuerName, "default-issuer-name", c.DefaultIssuerName, "issuer of Ingresses that ask for a certificate and name none")
	f.StringVar(&c.DefaultIssuerKind, "default-issuer-kind", c.DefaultIssuerKind, "kind of the default issuer")
	f.StringVar(&c.DefaultIssuerGroup, "default-issuer-group", c.DefaultIssuerGroup, "group of the default issuer")
	f.StringSliceVar(&c.AutoCertificateAnnotations, "auto-certificate-annotations", c.AutoCertificateAnnotations, "annotations that ask for a certificate of the default issuer")
	f.StringSliceVar(&c.ExtraCertificateAnnotations, "extra-certificate-annotations", c.ExtraCertificateAnnotations, "annotations of an Ingress or Gateway that its Certificates inherit")
	f.BoolVar(&c.EnableGatewayAPI, "enable-gateway-api", c.EnableGatewayAPI, "make Certificates for Gateways")
	f.BoolVar(&c.EnableGatewayAPIListenerSet, "enable-gateway-api-listenerset", c.EnableGatewayAPIListenerSet, "make Certificates for ListenerSets too; needs the feature gate "+gateListenerSets)
	f.StringSliceVar(&c.GatewayAPIExtraProtocols, "gateway-api-extra-protocols", c.GatewayAPIExtraProtocols, "listener protocols that carry TLS beside HTTPS and TLS")
	f.BoolVar(&c.IgnoreCALifetime, "ignore-ca-lifetime", c.IgnoreCALifetime, "sign as cert-manager does: for longer than the CA lasts, and with CAs that have expired")
	f.BoolVar(&c.AllowSecretTemplateReflection, "allow-secret-template-reflection", c.AllowSecretTemplateReflection, "let an Ingress or Gateway ask for reflection of its Secrets")
	f.StringSliceVar(&c.IgnoreNamespaces, "ignore-namespaces", c.IgnoreNamespaces, "namespaces that no CA is injected from")
	f.BoolVar(&c.EnableCertificatesDataSource, "enable-certificates-data-source", c.EnableCertificatesDataSource, "inject CAs from Certificates too")
	f.StringVar(&c.WebhookBindAddress, "webhook-bind-address", c.WebhookBindAddress, "address of admission, or 0 for none")
	f.StringVar(&c.WebhookURL, "webhook-url", c.WebhookURL, "where the API server reaches admission outside of the cluster (default: by the Service)")
	f.StringSliceVar(&c.ReflectorExcludedNamespaces, "reflector-excluded-namespaces", c.ReflectorExcludedNamespaces, "globs of namespaces whose objects are neither sources nor direct mirrors")
	f.BoolVar(&c.FilterExpiredCertificates, "filter-expired-certificates", c.FilterExpiredCertificates, "leave expired certificates out of Bundles")
	f.BoolVar(&c.FilterNonCACerts, "filter-non-ca-certs", c.FilterNonCACerts, "leave certificates that are no CA out of Bundles")
	f.BoolVar(&c.LeaderElect, "leader-elect", c.LeaderElect, "wait for the Leases before working")
	f.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace, "namespace of the Leases")
	f.DurationVar(&c.LeaseDuration.Duration, "lease-duration", c.LeaseDuration.Duration, "how long a Lease is good without being renewed")
	f.StringVar(&c.MetricsBindAddress, "metrics-bind-address", c.MetricsBindAddress, "address of /metrics, or 0 for none")
	f.StringVar(&c.MetricsTLSCertFile, "metrics-tls-cert-file", c.MetricsTLSCertFile, "certificate and chain to serve /metrics with over TLS")
	f.StringVar(&c.MetricsTLSPrivateKeyFile, "metrics-tls-private-key-file", c.MetricsTLSPrivateKeyFile, "its private key")
	f.StringVar(&c.MetricsDynamicServingCASecretNamespace, "metrics-dynamic-serving-ca-secret-namespace", c.MetricsDynamicServingCASecretNamespace, "namespace of the Secret of the CA that the daemon keeps to serve /metrics over TLS")
	f.StringVar(&c.MetricsDynamicServingCASecretName, "metrics-dynamic-serving-ca-secret-name", c.MetricsDynamicServingCASecretName, "name of that Secret; its ca.crt is what clients trust")
	f.StringSliceVar(&c.MetricsDynamicServingDNSNames, "metrics-dynamic-serving-dns-names", c.MetricsDynamicServingDNSNames, "names that /metrics is read by over TLS")
	f.DurationVar(&c.MetricsDynamicServingLeafDuration.Duration, "metrics-dynamic-serving-leaf-duration", c.MetricsDynamicServingLeafDuration.Duration, "how long a certificate of that CA is valid")
	f.StringVar(&c.MetricsTLSMinVersion, "metrics-tls-min-version", c.MetricsTLSMinVersion, "oldest TLS version of /metrics, as VersionTLS13 (default VersionTLS12)")
	f.StringSliceVar(&c.MetricsTLSCipherSuites, "metrics-tls-cipher-suites", c.MetricsTLSCipherSuites, "cipher suites of /metrics by IANA's names (default: Go's choice)")
	f.StringVar(&c.HealthProbeBindAddress, "health-probe-bind-address", c.HealthProbeBindAddress, "address of /livez and /readyz, or 0 for none")
	f.StringVar(&c.ProfilingBindAddress, "profiling-bind-address", c.ProfilingBindAddress, "address of /debug/pprof, or 0 for none")
	f.DurationVar(&c.ShutdownGracePeriod.Duration, "shutdown-grace-period", c.ShutdownGracePeriod.Duration, "how long work under way may take after the signal to stop")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "console or json")
	f.IntVarP(&c.LogLevel, "log-level", "v", c.LogLevel, "0, or 1 for detail")
	c.addCompatFlags(f)
}

const envPrefix = "TRUSTGLASS_"

// load completes a Config whose flags are parsed: the file at path (empty: none) and the environment fill in what no flag set.
func (c *Config) load(f *pflag.FlagSet, path string, lookupEnv func(string) (string, bool)) error {
	set := map[string]string{}
	f.Visit(func(flag *pflag.Flag) { set[flag.Name] = plainValue(flag) })
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the config file: %w", err)
		}
		if err := yaml.UnmarshalStrict(raw, c); err != nil {
			return fmt.Errorf("parsing the config file %s: %w", path, err)
		}
	}
	var errs []error
	f.VisitAll(func(flag *pflag.Flag) {
		env := variable(flag.Name)
		if value, ok := lookupEnv(env); ok {
			if err := replaceValue(flag, value); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s: %w", env, err))
			}
		}
	})
	f.VisitAll(func(flag *pflag.Flag) { // after all of the environment, since some flags have two names
		if value, ok := set[flag.Name]; ok {
			errs = append(errs, replaceValue(flag, value))
		}
	})
	if c.LogFormat == "text" { // as cert-manager calls it
		c.LogFormat = formatConsole
	}
	if c.ClusterResourceNamespace == "" {
		c.ClusterResourceNamespace = c.OwnNamespace
	}
	if c.TrustNamespace == "" {
		c.TrustNamespace = c.OwnNamespace
	}
	return errors.Join(errs...)
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// unknownVariables lists the variables of an environment that look like settings and are none. What Kubernetes tells every pod of a Service
// whose name begins as ours do is not among them.
func unknownVariables(f *pflag.FlagSet, environ []string) (unknown []string) {
	known := map[string]bool{}
	f.VisitAll(func(flag *pflag.Flag) { known[variable(flag.Name)] = true })
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] && !ofService.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// ofService matches the variables that a Service is announced by.
// See https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
var ofService = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// plainValue is a flag's value in the form in which replaceValue takes it.
func plainValue(f *pflag.Flag) string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return f.Value.String()
}

// replaceValue sets a flag; a list is replaced, not added to.
func replaceValue(f *pflag.Flag, value string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		if value == "" {
			return list.Replace(nil)
		}
		return list.Replace(strings.Split(value, ","))
	}
	return f.Value.Set(value)
}

// bindable tells whether an address can be listened on, or says that nothing is.
func bindable(address string) bool {
	_, _, err := net.SplitHostPort(address)
	return err == nil || address == "" || address == "0"
}

// Validate names every setting that is wrong, and what would be right.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	for field, ns := range map[string]string{
		"ownNamespace": c.OwnNamespace, "clusterResourceNamespace": c.ClusterResourceNamespace,
		"trustNamespace": c.TrustNamespace, "leaderElectionNamespace": c.LeaderElectionNamespace,
	} {
		if msgs := validation.IsDNS1123Label(ns); len(msgs) > 0 {
			bad(field, "%q is not a namespace: %s", ns, strings.Join(msgs, ", "))
		}
	}
	if _, err := c.running(); err != nil {
		bad("controllers", "%s", err)
	}
	if c.ConcurrentWorkers < 1 || c.ConcurrentWorkers > 256 {
		bad("concurrentWorkers", "%d is not between 1 and 256", c.ConcurrentWorkers)
	}
	if c.ParallelWrites < 1 || c.ParallelWrites > 512 {
		bad("parallelWrites", "%d is not between 1 and 512", c.ParallelWrites)
	}
	if base, max := c.CertificateRequestMinimumBackoffDuration.Duration, c.CertificateRequestMaximumBackoffDuration.Duration; base <= 0 || max < base {
		bad("certificateRequestMinimumBackoffDuration", "%s must be more than 0 and at most certificateRequestMaximumBackoffDuration, %s", base, max)
	}
	for _, s := range c.ApproveSignerNames {
		if before, after, ok := strings.Cut(s, "/"); !ok || !strings.Contains(before, ".") || after == "" {
			bad("approveSignerNames", "%q is not of the form <plural>.<group>/<name> or <plural>.<group>/*", s)
		}
	}
	if c.LeaseDuration.Duration < 5*time.Second {
		bad("leaseDuration", "%s is less than 5s", c.LeaseDuration.Duration)
	}
	if c.ShutdownGracePeriod.Duration < 0 {
		bad("shutdownGracePeriod", "%s is negative", c.ShutdownGracePeriod.Duration)
	}
	for flag, why := range refused {
		if value := c.compat.refused[flag]; value != nil && *value != "" {
			bad("--"+flag, "%s", why)
		}
	}
	if _, err := parseGates(c.FeatureGates); err != nil {
		bad("featureGates", "%s", err)
	}
	if c.Namespace != "" {
		if msgs := validation.IsDNS1123Label(c.Namespace); len(msgs) > 0 {
			bad("namespace", "%q is not a namespace: %s", c.Namespace, strings.Join(msgs, ", "))
		}
	}
	for field, address := range map[string]string{
		"webhookBindAddress": c.WebhookBindAddress, "metricsBindAddress": c.MetricsBindAddress,
		"healthProbeBindAddress": c.HealthProbeBindAddress, "profilingBindAddress": c.ProfilingBindAddress,
	} {
		if !bindable(address) {
			bad(field, "%q is neither host:port, nor :port, nor 0 for none", address)
		}
	}
	c.validateMetricsTLS(bad)
	if c.WebhookURL != "" && !strings.HasPrefix(c.WebhookURL, "https://") {
		bad("webhookURL", "%q is not an https URL", c.WebhookURL)
	}
	if c.LogFormat != formatConsole && c.LogFormat != formatJSON {
		bad("logFormat", "%q is neither console nor json", c.LogFormat)
	}
	if c.LogLevel < 0 || c.LogLevel > 1 {
		bad("logLevel", "%d is neither 0 nor 1", c.LogLevel)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
