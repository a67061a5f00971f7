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
		"--logging-format=text", "--enable-certificate-owner-ref", "--issuer-ambient-credentials",
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
	cfg.warnIgnored(f, funcr.New(func(_, args string) { said.WriteString(args + "\n") }, funcr.Options{}))
	for _, want := range []string{"--max-concurrent-challenges", "--kube-api-qps", "--leader-election-renew-deadline", "--issuer-ambient-credentials", "ServerSideApply"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("nothing is said of %s in:\n%s", want, said.String())
		}
	}
	if strings.Contains(said.String(), "ExperimentalCertificateSigningRequestControllers") || strings.Contains(said.String(), "dns01") {
		t.Errorf("said without need:\n%s", said.String())
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
	if on, _ := parseGates([]string{"ExperimentalGatewayAPISupport=false"}); on[gateGatewayAPI] {
		t.Error("a gate that is on can't be turned off")
	}
}
