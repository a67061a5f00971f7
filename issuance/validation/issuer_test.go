package validation

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

func ref(name, key string) cmmeta.SecretKeySelector {
	return cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: name}, Key: key}
}

var (
	secret = ref("s", "k")
	none   cmmeta.SecretKeySelector
)

// caPEM returns a certificate in PEM.
func caPEM(t testing.TB) []byte {
	t.Helper()
	csr, err := pki.ParseRequest(newCSR(t, func(s *spec) { s.EncodeUsagesInRequest = ptr.To(false); s.PrivateKey = nil }))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256})
	if err != nil {
		t.Fatal(err)
	}
	csr.PublicKey = key.Public()
	template, err := pki.NewTemplate(csr, &cmapi.CertificateRequestSpec{}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.SelfSign(template, key)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.Chain
}

type row struct {
	reason string
	spec   cmapi.IssuerConfig
	want   string
}

func run(t *testing.T, rows []row) {
	t.Helper()
	for _, tc := range rows {
		t.Run(tc.reason, func(t *testing.T) {
			list, warnings := Issuer(&cmapi.IssuerSpec{IssuerConfig: tc.spec}, field.NewPath("spec"))
			expect(t, list, tc.want)
			if len(warnings) > 0 {
				t.Errorf("warned: %q", warnings)
			}
		})
	}
}

func TestIssuer(t *testing.T) {
	run(t, []row{
		{"selfSigned", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}, ""},
		{"none", cmapi.IssuerConfig{}, "spec: Required value: must say what kind of issuer it is"},
		{"two", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}, CA: &cmapi.CAIssuer{SecretName: "a"}}, "spec.selfSigned: Forbidden: excludes ca"},
		{"ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "a", OCSPServers: []string{"http://ocsp"}, IssuingCertificateURLs: []string{"http://ca"}}}, ""},
		{"ca without Secret", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{}}, "spec.ca.secretName: Required value"},
		{"ca without OCSP server", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "a", OCSPServers: []string{""}}}, "spec.ca.ocspServers[0]: Required value: must be a URL"},
		{"ca with a bad URL", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "a", IssuingCertificateURLs: []string{"http://[::1"}}}, `spec.ca.issuingCertificateURLs[0]: Invalid value: "http://[::1": must be a URL`},
	})
}

func TestVaultIssuer(t *testing.T) {
	pem := caPEM(t)
	vault := func(change func(*cmapi.VaultIssuer)) cmapi.IssuerConfig {
		v := &cmapi.VaultIssuer{Server: "https://vault", Path: "pki/sign/role", Auth: cmapi.VaultAuth{TokenSecretRef: &secret}}
		change(v)
		return cmapi.IssuerConfig{Vault: v}
	}
	auth := func(a cmapi.VaultAuth) cmapi.IssuerConfig { return vault(func(v *cmapi.VaultIssuer) { v.Auth = a }) }
	account := &cmapi.ServiceAccountRef{Name: "a"}
	run(t, []row{
		{"token", vault(func(*cmapi.VaultIssuer) {}), ""},
		{"no server", vault(func(v *cmapi.VaultIssuer) { v.Server = "" }), "spec.vault.server: Required value"},
		{"no path", vault(func(v *cmapi.VaultIssuer) { v.Path = "" }), "spec.vault.path: Required value"},
		{"a path that climbs", vault(func(v *cmapi.VaultIssuer) { v.Path = "pki/../sys" }), `spec.vault.path: Invalid value: "pki/../sys": must not contain ".."`},
		{"a path that climbs in disguise", vault(func(v *cmapi.VaultIssuer) { v.Path = "pki/%2E%2e/sys" }), `spec.vault.path: Invalid value`},
		{"dots that do not climb", vault(func(v *cmapi.VaultIssuer) { v.Path = "pki/sign/a..b" }), ""},
		{"a bundle", vault(func(v *cmapi.VaultIssuer) { v.CABundle = pem }), ""},
		{"no bundle", vault(func(v *cmapi.VaultIssuer) { v.CABundle = []byte("x") }), "spec.vault.caBundle: Invalid value: must hold at least one certificate"},
		{"a huge bundle", vault(func(v *cmapi.VaultIssuer) { v.CABundle = make([]byte, MaxBundleBytes+1) }), "spec.vault.caBundle: Too long"},
		{"a Secret's bundle", vault(func(v *cmapi.VaultIssuer) { v.CABundleSecretRef = &secret }), ""},
		{"two bundles", vault(func(v *cmapi.VaultIssuer) { v.CABundle, v.CABundleSecretRef = pem, &secret }), "spec.vault.caBundleSecretRef: Forbidden: excludes caBundle"},
		{"a client's pair", vault(func(v *cmapi.VaultIssuer) { v.ClientCertSecretRef, v.ClientKeySecretRef = &secret, &secret }), ""},
		{"half a client's pair", vault(func(v *cmapi.VaultIssuer) { v.ClientCertSecretRef = &secret }), "spec.vault.clientKeySecretRef: Required value"},
		{"the other half", vault(func(v *cmapi.VaultIssuer) { v.ClientKeySecretRef = &secret }), "spec.vault.clientCertSecretRef: Required value"},
		{"no way to log in", auth(cmapi.VaultAuth{}), "spec.vault.auth: Required value"},
		{"no token", auth(cmapi.VaultAuth{TokenSecretRef: &none}), "spec.vault.auth.tokenSecretRef.name: Required value"},
		{"appRole", auth(cmapi.VaultAuth{AppRole: &cmapi.VaultAppRole{Path: "approle", RoleId: "a", SecretRef: secret}}), ""},
		{"appRole without id", auth(cmapi.VaultAuth{AppRole: &cmapi.VaultAppRole{SecretRef: secret}}), "spec.vault.auth.appRole.roleId: Required value"},
		{"a client certificate", auth(cmapi.VaultAuth{ClientCertificate: &cmapi.VaultClientCertificateAuth{}}), ""},
		{"a mount path that climbs", auth(cmapi.VaultAuth{ClientCertificate: &cmapi.VaultClientCertificateAuth{Path: ".."}}), "spec.vault.auth.clientCertificate.mountPath: Invalid value"},
		{"kubernetes", auth(cmapi.VaultAuth{Kubernetes: &cmapi.VaultKubernetesAuth{Role: "a", ServiceAccountRef: account}}), ""},
		{"kubernetes without role", auth(cmapi.VaultAuth{Kubernetes: &cmapi.VaultKubernetesAuth{SecretRef: secret}}), "spec.vault.auth.kubernetes.role: Required value"},
		{"kubernetes without identity", auth(cmapi.VaultAuth{Kubernetes: &cmapi.VaultKubernetesAuth{Role: "a"}}), "spec.vault.auth.kubernetes: Required value"},
		{"kubernetes with two identities", auth(cmapi.VaultAuth{Kubernetes: &cmapi.VaultKubernetesAuth{Role: "a", SecretRef: secret, ServiceAccountRef: account}}),
			"spec.vault.auth.kubernetes.serviceAccountRef: Forbidden: excludes secretRef"},
		{"aws", auth(cmapi.VaultAuth{AWS: &cmapi.VaultAWSAuth{Role: "a"}}), ""},
		{"aws without role", auth(cmapi.VaultAuth{AWS: &cmapi.VaultAWSAuth{}}), "spec.vault.auth.aws.role: Required value"},
		{"aws with an account and nothing to become", auth(cmapi.VaultAuth{AWS: &cmapi.VaultAWSAuth{Role: "a", ServiceAccountRef: account}}), "spec.vault.auth.aws.iamRoleArn: Required value"},
	})
}

func TestVenafiIssuer(t *testing.T) {
	venafi := func(v cmapi.VenafiIssuer) cmapi.IssuerConfig { v.Zone = "z"; return cmapi.IssuerConfig{Venafi: &v} }
	credentials := cmmeta.LocalObjectReference{Name: "c"}
	tpp := &cmapi.VenafiTPP{URL: "https://tpp", CredentialsRef: credentials}
	cloud := &cmapi.VenafiCloud{APITokenSecretRef: secret}
	run(t, []row{
		{"tpp", venafi(cmapi.VenafiIssuer{TPP: tpp}), ""},
		{"cloud", venafi(cmapi.VenafiIssuer{Cloud: cloud}), ""},
		{"ngts", venafi(cmapi.VenafiIssuer{NGTS: &cmapi.VenafiNGTS{TSGID: "1", CredentialsRef: credentials}}), ""},
		{"none", venafi(cmapi.VenafiIssuer{}), "spec.venafi: Required value"},
		{"two", venafi(cmapi.VenafiIssuer{TPP: tpp, Cloud: cloud}), "spec.venafi.cloud: Forbidden: excludes tpp"},
		{"no zone", cmapi.IssuerConfig{Venafi: &cmapi.VenafiIssuer{Cloud: cloud}}, "spec.venafi.zone: Required value"},
		{"tpp without URL", venafi(cmapi.VenafiIssuer{TPP: &cmapi.VenafiTPP{CredentialsRef: credentials}}), "spec.venafi.tpp.url: Required value"},
		{"tpp without credentials, as cert-manager lets pass", venafi(cmapi.VenafiIssuer{TPP: &cmapi.VenafiTPP{URL: "https://tpp"}}), ""},
		{"tpp with two bundles", venafi(cmapi.VenafiIssuer{TPP: &cmapi.VenafiTPP{URL: "https://tpp", CredentialsRef: credentials, CABundle: caPEM(t), CABundleSecretRef: &secret}}),
			"spec.venafi.tpp.caBundleSecretRef: Forbidden"},
		{"cloud without token", venafi(cmapi.VenafiIssuer{Cloud: &cmapi.VenafiCloud{}}), "spec.venafi.cloud.apiTokenSecretRef.name: Required value"},
		{"ngts without tenant", venafi(cmapi.VenafiIssuer{NGTS: &cmapi.VenafiNGTS{CredentialsRef: credentials}}), "spec.venafi.ngts.tsgID: Required value"},
		{"ngts with a bad endpoint", venafi(cmapi.VenafiIssuer{NGTS: &cmapi.VenafiNGTS{TSGID: "1", CredentialsRef: credentials, TokenEndpoint: ":"}}), "spec.venafi.ngts.tokenEndpoint: Invalid value"},
	})
}

func acme(change func(*cmacme.ACMEIssuer)) cmapi.IssuerConfig {
	a := &cmacme.ACMEIssuer{Server: "https://acme/dir", PrivateKey: ref("account", "")}
	change(a)
	return cmapi.IssuerConfig{ACME: a}
}

func solver(s cmacme.ACMEChallengeSolver) cmapi.IssuerConfig {
	return acme(func(a *cmacme.ACMEIssuer) { a.Solvers = []cmacme.ACMEChallengeSolver{s} })
}

func TestACMEIssuer(t *testing.T) {
	eab := func(e cmacme.ACMEExternalAccountBinding) cmapi.IssuerConfig {
		return acme(func(a *cmacme.ACMEIssuer) { a.ExternalAccountBinding = &e })
	}
	ingress := func(i cmacme.ACMEChallengeSolverHTTP01Ingress) cmapi.IssuerConfig {
		return solver(cmacme.ACMEChallengeSolver{HTTP01: &cmacme.ACMEChallengeSolverHTTP01{Ingress: &i}})
	}
	route := func(refs ...gwapi.ParentReference) cmapi.IssuerConfig {
		return solver(cmacme.ACMEChallengeSolver{HTTP01: &cmacme.ACMEChallengeSolverHTTP01{GatewayHTTPRoute: &cmacme.ACMEChallengeSolverHTTP01GatewayHTTPRoute{ParentRefs: refs}}})
	}
	http := &cmacme.ACMEChallengeSolverHTTP01{Ingress: &cmacme.ACMEChallengeSolverHTTP01Ingress{}}
	dns := &cmacme.ACMEChallengeSolverDNS01{DigitalOcean: &cmacme.ACMEIssuerDNS01ProviderDigitalOcean{Token: secret}}
	run(t, []row{
		{"acme", acme(func(*cmacme.ACMEIssuer) {}), ""},
		{"no server", acme(func(a *cmacme.ACMEIssuer) { a.Server = "" }), "spec.acme.server: Required value"},
		{"no account", acme(func(a *cmacme.ACMEIssuer) { a.PrivateKey = none }), "spec.acme.privateKeySecretRef.name: Required value"},
		{"an external account", eab(cmacme.ACMEExternalAccountBinding{KeyID: "1", Key: secret}), ""},
		{"an external account without id", eab(cmacme.ACMEExternalAccountBinding{Key: secret}), "spec.acme.externalAccountBinding.keyID: Required value"},
		{"an external account without key", eab(cmacme.ACMEExternalAccountBinding{KeyID: "1", Key: ref("s", "")}), "spec.acme.externalAccountBinding.keySecretRef.key: Required value"},
		{"a bundle", acme(func(a *cmacme.ACMEIssuer) { a.CABundle = caPEM(t) }), ""},
		{"no bundle", acme(func(a *cmacme.ACMEIssuer) { a.CABundle = []byte("x") }), "spec.acme.caBundle: Invalid value"},
		{"a bundle that nobody looks at", acme(func(a *cmacme.ACMEIssuer) { a.CABundle, a.SkipTLSVerify = caPEM(t), true }), "spec.acme.skipTLSVerify: Forbidden: excludes caBundle"},

		{"http01", solver(cmacme.ACMEChallengeSolver{HTTP01: http}), ""},
		{"no solver", solver(cmacme.ACMEChallengeSolver{}), "spec.acme.solvers[0]: Required value"},
		{"two solvers in one", solver(cmacme.ACMEChallengeSolver{HTTP01: http, DNS01: dns}), "spec.acme.solvers[0].dns01: Forbidden: excludes http01"},
		{"waiting", solver(cmacme.ACMEChallengeSolver{HTTP01: http, WaitInsteadOfSelfCheck: during(0)}), ""},
		{"waiting backwards", solver(cmacme.ACMEChallengeSolver{HTTP01: http, WaitInsteadOfSelfCheck: during(-1)}), "spec.acme.solvers[0].waitInsteadOfSelfCheck: Invalid value"},
		{"http01 by nothing", solver(cmacme.ACMEChallengeSolver{HTTP01: &cmacme.ACMEChallengeSolverHTTP01{}}), "spec.acme.solvers[0].http01: Required value"},
		{"http01 by an Ingress of a class", ingress(cmacme.ACMEChallengeSolverHTTP01Ingress{IngressClassName: ptr.To("nginx"), ServiceType: "ClusterIP"}), ""},
		{"an Ingress of two classes", ingress(cmacme.ACMEChallengeSolverHTTP01Ingress{IngressClassName: ptr.To("nginx"), Class: ptr.To("nginx")}), "spec.acme.solvers[0].http01.ingress.class: Forbidden: excludes ingressClassName"},
		{"an Ingress by class and name", ingress(cmacme.ACMEChallengeSolverHTTP01Ingress{Name: "web", Class: ptr.To("nginx")}), "spec.acme.solvers[0].http01.ingress.name: Forbidden: excludes class"},
		{"an Ingress of no class", ingress(cmacme.ACMEChallengeSolverHTTP01Ingress{IngressClassName: ptr.To("A b")}), `spec.acme.solvers[0].http01.ingress.ingressClassName: Invalid value: "A b"`},
		{"a Service of another type", ingress(cmacme.ACMEChallengeSolverHTTP01Ingress{ServiceType: "LoadBalancer"}), `spec.acme.solvers[0].http01.ingress.serviceType: Unsupported value: "LoadBalancer"`},
		{"http01 by a route", route(gwapi.ParentReference{Name: "gw", Kind: ptr.To(gwapi.Kind("Gateway"))}), ""},
		{"a route to a kind without name", route(gwapi.ParentReference{Kind: ptr.To(gwapi.Kind("Gateway"))}), "spec.acme.solvers[0].http01.gatewayHTTPRoute.parentRefs[0].name: Required value"},
		{"a route to a name without kind", route(gwapi.ParentReference{Name: "gw", Kind: ptr.To(gwapi.Kind(""))}), "spec.acme.solvers[0].http01.gatewayHTTPRoute.parentRefs[0].kind: Required value"},
	})
	//lint:ignore SA1019 that it is deprecated is what is tested
	deprecated := eab(cmacme.ACMEExternalAccountBinding{KeyID: "1", Key: secret, KeyAlgorithm: cmacme.HS256})
	_, warnings := Issuer(&cmapi.IssuerSpec{IssuerConfig: deprecated}, field.NewPath("spec"))
	if !slices.Equal(warnings, []string{eabAlgorithmWarning}) {
		t.Errorf("warned %q of a deprecated algorithm", warnings)
	}
}

func TestDNS01(t *testing.T) {
	dns := func(d cmacme.ACMEChallengeSolverDNS01) cmapi.IssuerConfig {
		return solver(cmacme.ACMEChallengeSolver{DNS01: &d})
	}
	do := &cmacme.ACMEIssuerDNS01ProviderDigitalOcean{Token: secret}
	azure := func(a cmacme.ACMEIssuerDNS01ProviderAzureDNS) cmapi.IssuerConfig {
		a.SubscriptionID, a.ResourceGroupName = "s", "g"
		return dns(cmacme.ACMEChallengeSolverDNS01{AzureDNS: &a})
	}
	cloudflare := func(c cmacme.ACMEIssuerDNS01ProviderCloudflare) cmapi.IssuerConfig {
		return dns(cmacme.ACMEChallengeSolverDNS01{Cloudflare: &c})
	}
	route53 := func(r cmacme.ACMEIssuerDNS01ProviderRoute53) cmapi.IssuerConfig {
		return dns(cmacme.ACMEChallengeSolverDNS01{Route53: &r})
	}
	rfc2136 := func(r cmacme.ACMEIssuerDNS01ProviderRFC2136) cmapi.IssuerConfig {
		return dns(cmacme.ACMEChallengeSolverDNS01{RFC2136: &r})
	}
	const at = "spec.acme.solvers[0].dns01"
	run(t, []row{
		{"following", dns(cmacme.ACMEChallengeSolverDNS01{DigitalOcean: do, CNAMEStrategy: "Follow"}), ""},
		{"an unknown strategy", dns(cmacme.ACMEChallengeSolverDNS01{DigitalOcean: do, CNAMEStrategy: "Chase"}), at + `.cnameStrategy: Unsupported value: "Chase"`},
		{"no provider", dns(cmacme.ACMEChallengeSolverDNS01{}), at + ": Required value: must name a provider"},
		{"two providers", dns(cmacme.ACMEChallengeSolverDNS01{DigitalOcean: do, Route53: &cmacme.ACMEIssuerDNS01ProviderRoute53{}}), at + ".digitalocean: Forbidden: excludes route53"},
		{"no token", dns(cmacme.ACMEChallengeSolverDNS01{DigitalOcean: &cmacme.ACMEIssuerDNS01ProviderDigitalOcean{}}), at + ".digitalocean.tokenSecretRef.name: Required value"},
		{"akamai", dns(cmacme.ACMEChallengeSolverDNS01{Akamai: &cmacme.ACMEIssuerDNS01ProviderAkamai{ServiceConsumerDomain: "a", ClientToken: secret, ClientSecret: secret, AccessToken: secret}}), ""},
		{"akamai without host", dns(cmacme.ACMEChallengeSolverDNS01{Akamai: &cmacme.ACMEIssuerDNS01ProviderAkamai{ClientToken: secret, ClientSecret: secret, AccessToken: secret}}), at + ".akamai.serviceConsumerDomain: Required value"},
		{"azure by whatever is there", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{}), ""},
		{"azure by a secret", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{ClientID: "c", TenantID: "t", ClientSecret: &secret}), ""},
		{"azure by half a secret", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{ClientID: "c", ClientSecret: &secret}), at + ".azureDNS.tenantID: Required value"},
		{"azure, a tenant without a client", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{ManagedIdentity: &cmacme.AzureManagedIdentity{TenantID: "t", ResourceID: "r"}}), at + ".azureDNS.managedIdentity: Forbidden"},
		{"azure by two identities", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{ClientID: "c", ManagedIdentity: &cmacme.AzureManagedIdentity{}}), at + ".azureDNS.managedIdentity: Forbidden"},
		{"azure nowhere", azure(cmacme.ACMEIssuerDNS01ProviderAzureDNS{Environment: "Moon"}), at + `.azureDNS.environment: Unsupported value: "Moon"`},
		{"cloudDNS", dns(cmacme.ACMEChallengeSolverDNS01{CloudDNS: &cmacme.ACMEIssuerDNS01ProviderCloudDNS{Project: "p"}}), ""},
		{"cloudDNS without project", dns(cmacme.ACMEChallengeSolverDNS01{CloudDNS: &cmacme.ACMEIssuerDNS01ProviderCloudDNS{}}), at + ".cloudDNS.project: Required value"},
		{"cloudflare", cloudflare(cmacme.ACMEIssuerDNS01ProviderCloudflare{APIToken: &secret}), ""},
		{"cloudflare by two secrets", cloudflare(cmacme.ACMEIssuerDNS01ProviderCloudflare{Email: "a@b", APIToken: &secret, APIKey: &secret}), at + ".cloudflare.apiKeySecretRef: Forbidden"},
		{"cloudflare by a key of nobody", cloudflare(cmacme.ACMEIssuerDNS01ProviderCloudflare{APIKey: &secret}), at + ".cloudflare.email: Required value"},
		{"cloudflare by nothing", cloudflare(cmacme.ACMEIssuerDNS01ProviderCloudflare{}), at + ".cloudflare: Required value"},
		{"route53 by whatever is there", route53(cmacme.ACMEIssuerDNS01ProviderRoute53{}), ""},
		{"route53 by two keys", route53(cmacme.ACMEIssuerDNS01ProviderRoute53{AccessKeyID: "a", SecretAccessKeyID: &secret}), at + ".route53.accessKeyIDSecretRef: Forbidden: excludes accessKeyID"},
		{"route53 by nobody's token", route53(cmacme.ACMEIssuerDNS01ProviderRoute53{Auth: &cmacme.Route53Auth{Kubernetes: &cmacme.Route53KubernetesAuth{}}}), at + ".route53.auth.kubernetes.serviceAccountRef.name: Required value"},
		{"acmeDNS", dns(cmacme.ACMEChallengeSolverDNS01{AcmeDNS: &cmacme.ACMEIssuerDNS01ProviderAcmeDNS{Host: "h", AccountSecret: secret}}), ""},
		{"acmeDNS nowhere", dns(cmacme.ACMEChallengeSolverDNS01{AcmeDNS: &cmacme.ACMEIssuerDNS01ProviderAcmeDNS{AccountSecret: secret}}), at + ".acmeDNS.host: Required value"},
		{"webhook", dns(cmacme.ACMEChallengeSolverDNS01{Webhook: &cmacme.ACMEIssuerDNS01ProviderWebhook{SolverName: "s"}}), ""},
		{"webhook without solver", dns(cmacme.ACMEChallengeSolverDNS01{Webhook: &cmacme.ACMEIssuerDNS01ProviderWebhook{}}), at + ".webhook.solverName: Required value"},

		{"rfc2136 at a host", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "ns1.example.com"}), ""},
		{"rfc2136 at a port", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "[2001:db8::1]:5353", TSIGAlgorithm: "hmacsha512", TSIGKeyName: "k", TSIGSecret: secret}), ""},
		{"rfc2136 nowhere", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{}), at + ".rfc2136.nameserver: Required value"},
		{"rfc2136 at a URL", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "dns://ns1"}), at + `.rfc2136.nameserver: Invalid value: "dns://ns1": must be host or host:port`},
		{"rfc2136 at an IPv6 address", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "[2001:db8::1]"}), ""},
		{"rfc2136 at an IPv6 address and a port", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "[2001:db8::1]:53"}), ""},
		{"rfc2136 at an IPv6 address that may have a port", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "2001:db8::1"}), at + ".rfc2136.nameserver: Invalid value"},
		{"rfc2136 at no port", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "ns1:0"}), at + ".rfc2136.nameserver: Invalid value"},
		{"rfc2136 with an unknown algorithm", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "ns1", TSIGAlgorithm: "ROT13"}), at + `.rfc2136.tsigAlgorithm: Unsupported value: "ROT13"`},
		{"rfc2136 with half a key", rfc2136(cmacme.ACMEIssuerDNS01ProviderRFC2136{Nameserver: "ns1", TSIGKeyName: "k"}), at + ".rfc2136.tsigSecretSecretRef: Required value"},
	})
}
