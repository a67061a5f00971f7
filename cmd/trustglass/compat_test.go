package main

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/spf13/pflag"
)

// The flags that cert-manager's chart sets start the daemon; those without effect say so.
func TestCompatFlags(t *testing.T) {
	cfg := defaultConfig()
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	cfg.addFlags(f)
	err := f.Parse([]string{
		"--v=2", "--cluster-resource-namespace=cm", "--leader-election-namespace=kube-system", "--max-concurrent-challenges=60",
		"--acme-http01-solver-image=x", "--kube-api-qps=50", "--metrics-listen-address=0.0.0.0:9402", "--leader-election-lease-duration=60s",
		"--leader-election-renew-deadline=40s", "--feature-gates=ServerSideApply=true,ExperimentalCertificateSigningRequestControllers=true",
		"--logging-format=text", "--enable-certificate-owner-ref", "--issuer-ambient-credentials", "--secret-targets-enabled",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.load(f, "", func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if cfg.MetricsBindAddress != "0.0.0.0:9402" || cfg.LeaseDuration.Duration != time.Minute || cfg.LogFormat != formatConsole || cfg.LogLevel != 0 {
		t.Errorf("aliases: %+v", cfg)
	}
	var said strings.Builder
	cfg.warnIgnored(f, []string{"TRUSTGLASS_METRICS_BIND_ADRESS=:1"}, funcr.New(func(_, args string) { said.WriteString(args + "\n") }, funcr.Options{}))
	for _, want := range []string{"--max-concurrent-challenges", "--kube-api-qps", "--leader-election-renew-deadline", "--issuer-ambient-credentials", "--secret-targets-enabled", "ServerSideApply", "TRUSTGLASS_METRICS_BIND_ADRESS"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("nothing is said of %s in:\n%s", want, said.String())
		}
	}
	if strings.Contains(said.String(), "ExperimentalCertificateSigningRequestControllers") || strings.Contains(said.String(), "dns01") {
		t.Errorf("said without need:\n%s", said.String())
	}
}

// cainjector's switches take its controllers away, by flag and by environment, whatever --controllers says.
func TestInjectableFlags(t *testing.T) {
	flags := map[string]string{
		"enable-mutatingwebhookconfigurations-injectable":   "cainjector-mutatingwebhookconfigurations",
		"enable-validatingwebhookconfigurations-injectable": "cainjector-validatingwebhookconfigurations",
		"enable-apiservices-injectable":                     "cainjector-apiservices",
		"enable-customresourcedefinitions-injectable":       "cainjector-customresourcedefinitions",
	}
	for flag, controller := range flags {
		env := "TRUSTGLASS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		for _, tc := range []struct {
			env  map[string]string
			args []string
			want bool // whether the controller runs
		}{
			{nil, []string{"--" + flag}, true},
			{nil, []string{"--" + flag + "=false"}, false},
			{nil, []string{"--controllers=bundles," + controller, "--" + flag + "=false"}, false},
			{nil, []string{"--controllers=-" + controller + ",*", "--" + flag + "=true"}, false},
			{map[string]string{env: "false"}, nil, false},
			{map[string]string{env: "false"}, []string{"--" + flag + "=true"}, true},
		} {
			cfg, err := load(t, "leaderElect: true\n", tc.env, tc.args...)
			if err != nil {
				t.Fatal(err)
			}
			on, err := cfg.running()
			if err != nil || on[controller] != tc.want {
				t.Errorf("%v %v: %s runs: %t, %v", tc.env, tc.args, controller, on[controller], err)
			}
			for _, other := range flags { // they go with the rest
				if other != controller && on[other] != on[ctrlIssuers] {
					t.Errorf("%v %v: %s runs: %t", tc.env, tc.args, other, on[other])
				}
			}
		}
	}
	cfg, err := load(t, "", nil, "--controllers=cainjector-apiservices", "--enable-apiservices-injectable=false")
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "nothing is left to run") {
		t.Errorf("with nothing left: %v", err)
	}
}

// Of trust-manager's flags one that changes nothing is accepted, and one that keeps Bundles to some namespaces is refused: passed over,
// it would have them written into all.
func TestTrustManagerFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string // "" for accepted
	}{
		{[]string{"--secret-targets-enabled"}, ""},
		{[]string{"--secret-targets-enabled=true", "--filter-expired-certificates"}, ""},
		{[]string{"--target-namespaces="}, ""},
		{[]string{"--target-namespaces=a,b"}, "--target-namespaces: Bundles can't be kept to some namespaces"},
	} {
		cfg, err := load(t, "", nil, tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.want)
		}
	}
}

func TestParseGates(t *testing.T) {
	for list, want := range map[string]string{
		"":                     "",
		"ListenerSets=true":    "",
		"AllAlpha=true":        "",
		"Nonsense=true":        `there is no feature gate "Nonsense"`,
		"ListenerSets=perhaps": "neither true nor false",
		"ListenerSets":         "neither true nor false",
	} {
		_, err := parseGates(strings.Split(list, ","))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", list, err, want)
		}
	}
	for list, want := range map[string][3]bool{ // of requests for signing, Gateways, ListenerSets
		"":                                    {false, true, false},
		"ExperimentalGatewayAPISupport=false": {false, false, false},
		"AllAlpha=true":                       {true, true, true},
		"ListenerSets=false,AllAlpha=true":    {true, true, false},
		"AllAlpha=true,ListenerSets=false":    {true, true, false},
		"AllBeta=false":                       {false, false, false},
		"AllBeta=false,ExperimentalGatewayAPISupport=true": {false, true, false},
	} {
		on := must(parseGates(strings.Split(list, ",")))
		if got := [3]bool{on[gateSigningRequests], on[gateGatewayAPI], on[gateListenerSets]}; got != want {
			t.Errorf("%q: %v, want %v", list, got, want)
		}
	}
}

// A flag outranks the environment under whichever of its names each of them comes.
func TestNamesOfOneSetting(t *testing.T) {
	cfg, err := load(t, "", map[string]string{"TRUSTGLASS_METRICS_LISTEN_ADDRESS": ":1"}, "--metrics-bind-address=:2")
	if err != nil || cfg.MetricsBindAddress != ":2" {
		t.Errorf("%q, %v", cfg.MetricsBindAddress, err)
	}
	cfg, err = load(t, "", map[string]string{"TRUSTGLASS_METRICS_BIND_ADDRESS": ":1"}, "--metrics-listen-address=:2")
	if err != nil || cfg.MetricsBindAddress != ":2" {
		t.Errorf("%q, %v", cfg.MetricsBindAddress, err)
	}
	cfg, err = load(t, "", map[string]string{"TRUSTGLASS_INTERNAL_HEALTHZ_LISTEN_ADDRESS": ":3"})
	if err != nil || cfg.HealthProbeBindAddress != ":3" {
		t.Errorf("%q, %v", cfg.HealthProbeBindAddress, err)
	}
}
