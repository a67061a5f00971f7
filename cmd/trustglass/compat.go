package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"github.com/trustglass/trustglass/trust/inject"
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

// ignored are flags of cert-manager and trust-manager that are accepted, with why they do nothing.
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
	"enable-profiling":                           "--profiling-bind-address says whether and where profiles are served",
	"profiler-address":                           "--profiling-bind-address says whether and where profiles are served",
	"secret-targets-enabled":                     "Bundles are published into ConfigMaps: one that asks for Secrets is refused, in its condition",
}

// refused are flags of trust-manager that would be dangerous to pass over, with what to do instead.
var refused = map[string]string{
	"target-namespaces": "Bundles can't be kept to some namespaces by a flag yet, and without it they would go to others: " +
		"name the namespaces in each Bundle's spec.target.namespaceSelector, or leave Bundles to trust-manager with --controllers=*,-bundles",
}

// ignoredSwitches are those of ignored that need no value.
var ignoredSwitches = []string{
	"dns01-recursive-nameservers-only", "acme-http01-solver-run-as-non-root", "cluster-issuer-ambient-credentials", "issuer-ambient-credentials",
	"secret-targets-enabled", "enable-profiling",
}

// compat holds the values of flags that are no settings of ours.
type compat struct {
	// injectable has cainjector's switches by the name of the controller that each turns off.
	injectable map[string]*bool
	// refused has the flags of that name.
	refused map[string]*string
}

// switchedOff lists the controllers that cainjector's switches turn off, as --controllers takes them.
func (c *compat) switchedOff() (list []string) {
	for name, on := range c.injectable {
		if !*on {
			list = append(list, "-"+name)
		}
	}
	return list
}

// addCompatFlags accepts the flags of cert-manager's controller and cainjector and of trust-manager under their names: aliases of ours,
// and those that do nothing here.
func (c *Config) addCompatFlags(f *pflag.FlagSet) {
	f.StringVar(&c.MetricsBindAddress, "metrics-listen-address", c.MetricsBindAddress, "as --metrics-bind-address")
	for _, name := range []string{"healthz-listen-address", "internal-healthz-listen-address"} {
		f.StringVar(&c.HealthProbeBindAddress, name, c.HealthProbeBindAddress, "as --health-probe-bind-address")
	}
	f.StringVar(&c.LogFormat, "logging-format", c.LogFormat, "as --log-format; text means console")
	f.DurationVar(&c.LeaseDuration.Duration, "leader-election-lease-duration", c.LeaseDuration.Duration, "as --lease-duration")
	f.Var(klogLevel{&c.LogLevel}, "v", "as --log-level: up to 3 is 0, more is 1")
	f.Lookup("v").Hidden = true
	hidden := []string{"metrics-listen-address", "healthz-listen-address", "internal-healthz-listen-address", "logging-format", "leader-election-lease-duration"}
	for name, why := range ignored {
		f.String(name, "", "accepted, without effect: "+why)
		hidden = append(hidden, name)
	}
	c.compat = compat{injectable: map[string]*bool{}, refused: map[string]*string{}}
	for name, why := range refused {
		c.compat.refused[name] = f.String(name, "", "refused: "+why)
		hidden = append(hidden, name)
	}
	for _, k := range inject.Kinds() {
		name := "enable-" + k.Plural + "-injectable"
		c.compat.injectable[k.Controller()] = f.Bool(name, true, "false: as --controllers=-"+k.Controller())
		hidden = append(hidden, name)
	}
	for _, name := range hidden {
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

// Gates that stand for all of a kind; ofKind lists those among them that change something here.
const (
	gateAllAlpha = "AllAlpha"
	gateAllBeta  = "AllBeta"
)

var ofKind = map[string][]string{gateAllAlpha: {gateSigningRequests, gateListenerSets}, gateAllBeta: {gateGatewayAPI}}

// parseGates reads "Name=true" pairs. A gate's own pair outranks that of its kind, wherever they stand. A name that cert-manager does
// not know either is an error, as it is there.
func parseGates(list []string) (map[string]bool, error) {
	on, kinds := map[string]bool{}, map[string]bool{}
	for _, pair := range list {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if name == "" {
			continue
		}
		if _, known := gates[name]; !known && ofKind[name] == nil {
			return nil, fmt.Errorf("there is no feature gate %q", name)
		}
		enabled, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("feature gate %s: %q is neither true nor false", name, value)
		}
		if ofKind[name] != nil {
			kinds[name] = enabled
		} else {
			on[name] = enabled
		}
	}
	if _, said := kinds[gateAllBeta]; !said {
		kinds[gateAllBeta] = true
	}
	for kind, enabled := range kinds {
		for _, name := range ofKind[kind] {
			if _, said := on[name]; !said {
				on[name] = enabled
			}
		}
	}
	return on, nil
}

// warnIgnored says which settings have no effect here, and why.
func (c *Config) warnIgnored(f *pflag.FlagSet, environ []string, logger logr.Logger) {
	for _, name := range unknownVariables(f, environ) {
		logger.Info("environment variable without effect", "variable", name, "why", "no setting has that name")
	}
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
