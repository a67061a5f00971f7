package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
)

// Feature gates of cert-manager 1.21 that change something here.
const (
	gateSigningRequests = "ExperimentalCertificateSigningRequestControllers"
	gateGatewayAPI      = "ExperimentalGatewayAPISupport"
	gateListenerSets    = "ListenerSets"
)

// gates are the feature gates that are known, with why one that is set changes nothing; empty for those that do.
var gates = map[string]string{
	gateSigningRequests:                     "",
	gateGatewayAPI:                          "",
	gateListenerSets:                        "",
	"StableCertificateRequestName":          "requests always have stable names",
	"SecretsFilteredCaching":                "no Secret's payload is ever cached",
	"LiteralCertificateSubject":             "spec.literalSubject is always served",
	"NameConstraints":                       "spec.nameConstraints is always served",
	"OtherNames":                            "spec.otherNames is always served",
	"AdditionalCertificateOutputFormats":    "spec.additionalOutputFormats is always served",
	"DisallowInsecureCSRUsageDefinition":    "usages in a CSR always have to agree with the request's",
	"UseDomainQualifiedFinalizer":           "no finalizers are set",
	"DefaultPrivateKeyRotationPolicyAlways": "Always is the default",
	"CAInjectorMerging":                     "CAs are always merged",
	"ServerSideApply":                       "every write carries a precondition, which is what the gate is for",
	"UseCertificateRequestBasicConstraints": "requests carry no basic constraints",
	"ACMEHTTP01IngressPathTypeExact":        "ACME issuers are not served yet",
	"ACMEUseARI":                            "ACME issuers are not served yet",
	"ValidateCAA":                           "it does nothing in cert-manager either",
}

// ignored are flags of cert-manager's controller that are accepted, with why they do nothing.
var ignored = map[string]string{
	"kube-api-qps":                               "the API server's priority and fairness limits the rate",
	"kube-api-burst":                             "the API server's priority and fairness limits the rate",
	"max-concurrent-challenges":                  "ACME issuers are not served yet",
	"dns01-recursive-nameservers":                "ACME issuers are not served yet",
	"dns01-recursive-nameservers-only":           "ACME issuers are not served yet",
	"dns01-check-retry-period":                   "ACME issuers are not served yet",
	"acme-http01-solver-image":                   "ACME issuers are not served yet",
	"acme-http01-solver-nameservers":             "ACME issuers are not served yet",
	"acme-http01-solver-resource-request-cpu":    "ACME issuers are not served yet",
	"acme-http01-solver-resource-request-memory": "ACME issuers are not served yet",
	"acme-http01-solver-resource-limits-cpu":     "ACME issuers are not served yet",
	"acme-http01-solver-resource-limits-memory":  "ACME issuers are not served yet",
	"acme-http01-solver-run-as-non-root":         "ACME issuers are not served yet",
	"acme-http01-solver-runtime-class-name":      "ACME issuers are not served yet",
	"cluster-issuer-ambient-credentials":         "no issuer that is served uses credentials of its surroundings",
	"issuer-ambient-credentials":                 "no issuer that is served uses credentials of its surroundings",
	"leader-election-renew-deadline":             "it is two thirds of --lease-duration",
	"leader-election-retry-period":               "it is a sixth of --lease-duration",
	"max-certificate-size":                       "the limits on what is parsed are fixed",
	"max-private-key-size":                       "the limits on what is parsed are fixed",
	"max-certificate-chain-length":               "the limits on what is parsed are fixed",
	"max-certificate-bundle-size":                "the limits on what is parsed are fixed",
}

// ignoredSwitches are those of ignored that need no value.
var ignoredSwitches = []string{
	"dns01-recursive-nameservers-only", "acme-http01-solver-run-as-non-root", "cluster-issuer-ambient-credentials", "issuer-ambient-credentials",
}

// addCompatFlags accepts the flags of cert-manager's controller under its names: aliases of ours, and those that do nothing here.
func (c *Config) addCompatFlags(f *pflag.FlagSet) {
	f.StringVar(&c.MetricsBindAddress, "metrics-listen-address", c.MetricsBindAddress, "as --metrics-bind-address")
	f.StringVar(&c.HealthProbeBindAddress, "healthz-listen-address", c.HealthProbeBindAddress, "as --health-probe-bind-address")
	f.StringVar(&c.LogFormat, "logging-format", c.LogFormat, "as --log-format; text means console")
	f.DurationVar(&c.LeaseDuration.Duration, "leader-election-lease-duration", c.LeaseDuration.Duration, "as --lease-duration")
	f.Var(klogLevel{&c.LogLevel}, "v", "as --log-level: up to 3 is 0, more is 1")
	f.Lookup("v").Hidden = true
	for name, why := range ignored {
		f.String(name, "", "accepted, without effect: "+why)
	}
	for _, name := range append(slices.Collect(maps.Keys(ignored)), "metrics-listen-address", "healthz-listen-address", "logging-format", "leader-election-lease-duration") {
		f.Lookup(name).Hidden = true
	}
	for _, name := range ignoredSwitches {
		f.Lookup(name).NoOptDefVal = "true"
	}
}

// klogLevel is cert-manager's --v: from 4 on it is detail.
type klogLevel struct{ level *int }

func (l klogLevel) String() string {
	if l.level != nil && *l.level > 0 {
		return "4"
	}
	return "0"
}

func (l klogLevel) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return err
	}
	*l.level = 0
	if n > 3 {
		*l.level = 1
	}
	return nil
}

func (klogLevel) Type() string { return "int" }

// parseGates reads "Name=true" pairs. A name that cert-manager does not know either is an error, as it is there.
func parseGates(list []string) (map[string]bool, error) {
	on := map[string]bool{gateGatewayAPI: true}
	for _, pair := range list {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if name == "" {
			continue
		}
		if _, known := gates[name]; !known && name != "AllAlpha" && name != "AllBeta" {
			return nil, fmt.Errorf("there is no feature gate %q", name)
		}
		enabled, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("feature gate %s: %q is neither true nor false", name, value)
		}
		on[name] = enabled
	}
	return on, nil
}

// warnIgnored says which settings have no effect here, and why.
func (c *Config) warnIgnored(f *pflag.FlagSet, logger logr.Logger) {
	for _, name := range slices.Sorted(maps.Keys(ignored)) {
		if f.Changed(name) {
			logger.Info("flag without effect", "flag", "--"+name, "why", ignored[name])
		}
	}
	on, err := parseGates(c.FeatureGates)
	if err != nil {
		return // Validate has said so
	}
	for _, name := range slices.Sorted(maps.Keys(on)) {
		if why := gates[name]; why != "" {
			logger.Info("feature gate without effect", "gate", name, "why", why)
		}
	}
}
