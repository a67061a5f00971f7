package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/trustglass/trustglass/webhook"
)

// metricsTLS says how the metrics are served over TLS: with a certificate from files, which may be exchanged while the daemon runs, or
// with one of a CA that the daemon keeps in a Secret. Neither means in plain text.
func (c *Config) metricsTLS() (fromFiles, fromSecret bool) {
	return c.MetricsTLSCertFile != "" || c.MetricsTLSPrivateKeyFile != "",
		c.MetricsDynamicServingCASecretNamespace != "" || c.MetricsDynamicServingCASecretName != ""
}

// metricsOptions tells controller-runtime how to serve the metrics.
func (s *scrapes) metricsOptions(c *Config) server.Options {
	o := server.Options{BindAddress: c.MetricsBindAddress, FilterProvider: s.filter}
	if fromFiles, fromSecret := c.metricsTLS(); !fromFiles && !fromSecret {
		return o
	}
	o.SecureServing = true
	o.TLSOpts = []func(*tls.Config){func(t *tls.Config) {
		t.MinVersion, _ = tlsVersion(c.MetricsTLSMinVersion) // Validate has looked at both
		t.CipherSuites, _ = cipherSuites(c.MetricsTLSCipherSuites)
		t.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate(hello) }
	}}
	return o
}

// serveMetricsTLS has mgr keep the certificate of the metrics, if they are to have one.
func (s *scrapes) serveMetricsTLS(mgr ctrl.Manager, c *Config) error {
	fromFiles, fromSecret := c.metricsTLS()
	if c.MetricsBindAddress == "0" || !fromFiles && !fromSecret {
		return nil
	}
	if fromFiles {
		files, err := certwatcher.New(c.MetricsTLSCertFile, c.MetricsTLSPrivateKeyFile)
		if err != nil {
			return fmt.Errorf("reading the certificate of the metrics from %s and %s: %w", c.MetricsTLSCertFile, c.MetricsTLSPrivateKeyFile, err)
		}
		s.certificate = files.GetCertificate
		return mgr.Add(files)
	}
	kept := webhook.NewCertificate(mgr, webhook.CertificateOptions{
		Secret: types.NamespacedName{Namespace: c.MetricsDynamicServingCASecretNamespace, Name: c.MetricsDynamicServingCASecretName},
		Names:  c.MetricsDynamicServingDNSNames, Now: timeNow,
		Lifetimes: webhook.Lifetimes{Leaf: c.MetricsDynamicServingLeafDuration.Duration},
	})
	s.certificate = kept.Get
	return mgr.Add(kept)
}

var tlsVersions = map[string]uint16{
	"": tls.VersionTLS12, "VersionTLS10": tls.VersionTLS10, "VersionTLS11": tls.VersionTLS11,
	"VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13,
}

// tlsVersion reads a version's name as Kubernetes has it; none means 1.2.
func tlsVersion(name string) (uint16, error) {
	v, ok := tlsVersions[name]
	if !ok {
		return 0, fmt.Errorf("%q is none of VersionTLS10, VersionTLS11, VersionTLS12 and VersionTLS13", name)
	}
	return v, nil
}

// cipherSuites reads names as IANA has them; none means Go's choice.
func cipherSuites(names []string) (ids []uint16, err error) {
	all := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	for _, name := range names {
		i := slices.IndexFunc(all, func(s *tls.CipherSuite) bool { return s.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no cipher suite %q", name)
		}
		ids = append(ids, all[i].ID)
	}
	return ids, nil
}

// validateMetricsTLS tells bad what is wrong with the settings of metrics over TLS.
func (c *Config) validateMetricsTLS(bad func(field, format string, args ...any)) {
	if (c.MetricsTLSCertFile == "") != (c.MetricsTLSPrivateKeyFile == "") {
		bad("metricsTLSCertFile", "goes with metricsTLSPrivateKeyFile: set both or neither")
	}
	fromFiles, fromSecret := c.metricsTLS()
	switch {
	case fromFiles && fromSecret:
		bad("metricsTLSCertFile", "excludes metricsDynamicServingCASecretName: the certificate is either from files or from a CA in a Secret")
	case !fromSecret:
	case c.MetricsDynamicServingCASecretNamespace == "" || c.MetricsDynamicServingCASecretName == "":
		bad("metricsDynamicServingCASecretName", "goes with metricsDynamicServingCASecretNamespace: set both or neither")
	case len(c.MetricsDynamicServingDNSNames) == 0:
		bad("metricsDynamicServingDNSNames", "must have a name that the metrics are read by, such as trustglass.cert-manager.svc")
	}
	if d := c.MetricsDynamicServingLeafDuration.Duration; d < minLeafDuration {
		bad("metricsDynamicServingLeafDuration", "%s is less than %s", d, minLeafDuration)
	}
	if _, err := tlsVersion(c.MetricsTLSMinVersion); err != nil {
		bad("metricsTLSMinVersion", "%s", err)
	}
	if _, err := cipherSuites(c.MetricsTLSCipherSuites); err != nil {
		bad("metricsTLSCipherSuites", "%s", err)
	}
}
