package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// load reads a Config as `trustglass run` does.
func load(t *testing.T, file string, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	cfg := defaultConfig()
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	cfg.addFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := cfg.load(f, path, func(key string) (string, bool) { v, ok := env[key]; return v, ok })
	return cfg, err
}

func TestDefaultsAreValid(t *testing.T) {
	cfg, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.TrustNamespace != "cert-manager" || cfg.ClusterResourceNamespace != "cert-manager" {
		t.Errorf("trust and cluster resource namespaces are %q and %q, want the daemon's own", cfg.TrustNamespace, cfg.ClusterResourceNamespace)
	}
}

func TestPrecedence(t *testing.T) {
	file := "concurrentWorkers: 3\nparallelWrites: 5\nleaseDuration: 40s\ncontrollers: [bundles]\n"
	env := map[string]string{"TRUSTGLASS_PARALLEL_WRITES": "6", "TRUSTGLASS_LEASE_DURATION": "50s", "TRUSTGLASS_CONTROLLERS": "*,-issuers"}
	cfg, err := load(t, file, env, "--lease-duration=60s")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ConcurrentWorkers != 3 {
		t.Errorf("concurrentWorkers is %d, want the file's 3", cfg.ConcurrentWorkers)
	}
	if cfg.ParallelWrites != 6 {
		t.Errorf("parallelWrites is %d, want the environment's 6", cfg.ParallelWrites)
	}
	if cfg.LeaseDuration.Duration != time.Minute {
		t.Errorf("leaseDuration is %s, want the flag's 60s", cfg.LeaseDuration.Duration)
	}
	if diff := cmp.Diff([]string{"*", "-issuers"}, cfg.Controllers); diff != "" {
		t.Errorf("controllers (-want +got):\n%s", diff)
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := load(t, "noSuchKey: 1\n", nil); err == nil || !strings.Contains(err.Error(), "noSuchKey") {
		t.Errorf("an unknown key in the file: %v", err)
	}
	if _, err := load(t, "", map[string]string{"TRUSTGLASS_LEASE_DURATION": "soon"}); err == nil || !strings.Contains(err.Error(), "TRUSTGLASS_LEASE_DURATION") {
		t.Errorf("a bad environment variable: %v", err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for _, tc := range []struct {
		field  string
		change func(*Config)
	}{
		{"ownNamespace", func(c *Config) { c.OwnNamespace = "A b" }},
		{"clusterResourceNamespace", func(c *Config) { c.ClusterResourceNamespace = "a.b" }},
		{"trustNamespace", func(c *Config) { c.TrustNamespace = "" }},
		{"leaderElectionNamespace", func(c *Config) { c.LeaderElectionNamespace = "-" }},
		{"controllers", func(c *Config) { c.Controllers = []string{"nonsense"} }},
		{"controllers", func(c *Config) { c.Controllers = nil }},
		{"concurrentWorkers", func(c *Config) { c.ConcurrentWorkers = 0 }},
		{"parallelWrites", func(c *Config) { c.ParallelWrites = 100_000 }},
		{"certificateRequestMinimumBackoffDuration", func(c *Config) { c.CertificateRequestMaximumBackoffDuration.Duration = time.Minute }},
		{"approveSignerNames", func(c *Config) { c.ApproveSignerNames = []string{"everything"} }},
		{"leaseDuration", func(c *Config) { c.LeaseDuration.Duration = time.Second }},
		{"shutdownGracePeriod", func(c *Config) { c.ShutdownGracePeriod.Duration = -1 }},
		{"webhookBindAddress", func(c *Config) { c.WebhookBindAddress = "10250" }},
		{"metricsBindAddress", func(c *Config) { c.MetricsBindAddress = "9402" }},
		{"healthProbeBindAddress", func(c *Config) { c.HealthProbeBindAddress = "localhost" }},
		{"profilingBindAddress", func(c *Config) { c.ProfilingBindAddress = "::1" }},
		{"metricsTLSCertFile", func(c *Config) { c.MetricsTLSCertFile = "/tls.crt" }},
		{"metricsTLSCertFile", func(c *Config) {
			c.MetricsTLSCertFile, c.MetricsTLSPrivateKeyFile = "/tls.crt", "/tls.key"
			c.MetricsDynamicServingCASecretNamespace, c.MetricsDynamicServingCASecretName = "a", "b"
		}},
		{"metricsDynamicServingCASecretName", func(c *Config) { c.MetricsDynamicServingCASecretName = "b" }},
		{"metricsDynamicServingDNSNames", func(c *Config) {
			c.MetricsDynamicServingCASecretNamespace, c.MetricsDynamicServingCASecretName = "a", "b"
		}},
		{"metricsDynamicServingLeafDuration", func(c *Config) { c.MetricsDynamicServingLeafDuration.Duration = time.Second }},
		{"metricsTLSMinVersion", func(c *Config) { c.MetricsTLSMinVersion = "1.3" }},
		{"metricsTLSCipherSuites", func(c *Config) { c.MetricsTLSCipherSuites = []string{"ROT13"} }},
		{"logFormat", func(c *Config) { c.LogFormat = "xml" }},
		{"logLevel", func(c *Config) { c.LogLevel = 9 }},
	} {
		cfg, err := load(t, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		tc.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), tc.field+": ") {
			t.Errorf("a bad %s: %v", tc.field, err)
		}
	}
}

func TestSelectControllers(t *testing.T) {
	for _, tc := range []struct {
		reason string
		list   []string
		want   []string // nil: refused
	}{
		{"all", []string{"*"}, controllerNames()},
		{"one", []string{"bundles"}, []string{"bundles"}},
		{"a minus wins whatever the order", []string{"-bundles", "*", "-issuers"}, []string{"certificates", "certificaterequests", "certificaterequests-approver", "ingress-shim", "gateway-shim", "listenerset", "clusterissuers", "reflector-secrets", "reflector-configmaps", "cainjector-mutatingwebhookconfigurations", "cainjector-validatingwebhookconfigurations", "cainjector-apiservices", "cainjector-customresourcedefinitions"}},
		{"nothing", []string{"bundles", "-bundles"}, nil},
		{"unknown", []string{"*", "shim"}, nil},
		{"unknown, taken away", []string{"*", "-shim"}, nil},
	} {
		on, err := selectControllers(tc.list)
		if (err != nil) != (tc.want == nil) {
			t.Errorf("%s: error %v", tc.reason, err)
		}
		if err != nil {
			continue
		}
		var got []string
		for _, name := range controllerNames() {
			if on[name] {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	cfg := defaultConfig()
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	cfg.addFlags(f)
	got := unknownVariables(f, []string{
		"PATH=/bin", "TRUSTGLASS_METRICS_BIND_ADDRESS=:1", "TRUSTGLASS_METRICS_BIND_ADRESS=:1", "TRUSTGLASS_=", "TRUSTGLASS_LOG_LEVL",
		// of a Service called trustglass-webhook
		"TRUSTGLASS_WEBHOOK_SERVICE_HOST=10.0.0.1", "TRUSTGLASS_WEBHOOK_SERVICE_PORT=443", "TRUSTGLASS_WEBHOOK_SERVICE_PORT_HTTPS=443",
		"TRUSTGLASS_WEBHOOK_PORT=tcp://10.0.0.1:443", "TRUSTGLASS_WEBHOOK_PORT_443_TCP=tcp://10.0.0.1:443",
		"TRUSTGLASS_WEBHOOK_PORT_443_TCP_PROTO=tcp", "TRUSTGLASS_WEBHOOK_PORT_443_TCP_PORT=443", "TRUSTGLASS_WEBHOOK_PORT_443_TCP_ADDR=10.0.0.1",
	})
	if want := []string{"TRUSTGLASS_", "TRUSTGLASS_LOG_LEVL", "TRUSTGLASS_METRICS_BIND_ADRESS"}; !slices.Equal(got, want) {
		t.Errorf("unknown: %q, want %q", got, want)
	}
}
