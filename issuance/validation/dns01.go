package validation

import (
	"slices"
	"strings"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
)

// dns01 checks that there is one provider, and that what it can't do without is there.
func (f *findings) dns01(d *cmacme.ACMEChallengeSolverDNS01, path []any) {
	switch d.CNAMEStrategy {
	case "", cmacme.NoneStrategy, cmacme.FollowStrategy:
	default:
		f.unsupported(string(d.CNAMEStrategy), []string{cmacme.NoneStrategy, cmacme.FollowStrategy}, append(slices.Clone(path), "cnameStrategy")...)
	}
	f.oneOf("must name a provider", path,
		choice{"akamai", d.Akamai != nil}, choice{"azureDNS", d.AzureDNS != nil}, choice{"cloudDNS", d.CloudDNS != nil},
		choice{"cloudflare", d.Cloudflare != nil}, choice{"route53", d.Route53 != nil}, choice{"digitalocean", d.DigitalOcean != nil},
		choice{"acmeDNS", d.AcmeDNS != nil}, choice{"rfc2136", d.RFC2136 != nil}, choice{"webhook", d.Webhook != nil})
	under := func(name string) provider { return provider{f, append(slices.Clone(path), name)} }
	if p := d.Akamai; p != nil {
		under("akamai").akamai(p)
	}
	if p := d.AzureDNS; p != nil {
		under("azureDNS").azure(p)
	}
	if p := d.CloudDNS; p != nil {
		under("cloudDNS").cloudDNS(p)
	}
	if p := d.Cloudflare; p != nil {
		under("cloudflare").cloudflare(p)
	}
	if p := d.Route53; p != nil {
		under("route53").route53(p)
	}
	if p := d.DigitalOcean; p != nil {
		to := under("digitalocean")
		f.keyRef(&p.Token, to.field("tokenSecretRef")...)
	}
	if p := d.AcmeDNS; p != nil {
		under("acmeDNS").acmeDNS(p)
	}
	if p := d.RFC2136; p != nil {
		under("rfc2136").rfc2136(p)
	}
	if p := d.Webhook; p != nil {
		f.needs(p.SolverName, "must name the solver", under("webhook").field("solverName")...)
	}
}

// provider checks the fields of one DNS provider.
type provider struct {
	f    *findings
	path []any
}

func (p provider) field(name string) []any { return append(slices.Clone(p.path), name) }

func (p provider) akamai(a *cmacme.ACMEIssuerDNS01ProviderAkamai) {
	p.f.needs(a.ServiceConsumerDomain, "must be the host of the API", p.field("serviceConsumerDomain")...)
	p.f.keyRef(&a.AccessToken, p.field("accessTokenSecretRef")...)
	p.f.keyRef(&a.ClientSecret, p.field("clientSecretSecretRef")...)
	p.f.keyRef(&a.ClientToken, p.field("clientTokenSecretRef")...)
}

func (p provider) azure(a *cmacme.ACMEIssuerDNS01ProviderAzureDNS) {
	p.f.needs(a.SubscriptionID, "must be the subscription's id", p.field("subscriptionID")...)
	p.f.needs(a.ResourceGroupName, "must be the resource group's name", p.field("resourceGroupName")...)
	switch a.Environment {
	case "", cmacme.AzurePublicCloud, cmacme.AzureChinaCloud, cmacme.AzureGermanCloud, cmacme.AzureUSGovernmentCloud:
	default:
		p.f.unsupported(string(a.Environment), []string{
			string(cmacme.AzurePublicCloud), string(cmacme.AzureChinaCloud), string(cmacme.AzureGermanCloud), string(cmacme.AzureUSGovernmentCloud),
		}, p.field("environment")...)
	}
	static := a.ClientID != "" || a.ClientSecret != nil || a.TenantID != ""
	switch {
	case a.ManagedIdentity != nil && static:
		p.f.forbidden("excludes clientID, clientSecretSecretRef and tenantID", p.field("managedIdentity")...)
	case a.ManagedIdentity != nil && a.ManagedIdentity.ClientID != "" && a.ManagedIdentity.ResourceID != "":
		p.f.forbidden("clientID and resourceID exclude each other", p.field("managedIdentity")...)
	case a.ManagedIdentity != nil && a.ManagedIdentity.TenantID != "" && a.ManagedIdentity.ClientID == "":
		p.f.forbidden("tenantID goes with clientID only", p.field("managedIdentity")...)
	case static:
		p.f.needs(a.ClientID, "must be set together with clientSecretSecretRef and tenantID", p.field("clientID")...)
		p.f.needs(a.TenantID, "must be set together with clientID and clientSecretSecretRef", p.field("tenantID")...)
		p.f.keyRef(a.ClientSecret, p.field("clientSecretSecretRef")...)
	}
}

func (p provider) cloudDNS(c *cmacme.ACMEIssuerDNS01ProviderCloudDNS) {
	p.f.needs(c.Project, "must be the project's id", p.field("project")...)
	if c.ServiceAccount != nil {
		p.f.keyRef(c.ServiceAccount, p.field("serviceAccountSecretRef")...)
	}
}

func (p provider) cloudflare(c *cmacme.ACMEIssuerDNS01ProviderCloudflare) {
	p.f.oneOf("must have apiTokenSecretRef, or apiKeySecretRef and email", p.path,
		choice{"apiTokenSecretRef", c.APIToken != nil}, choice{"apiKeySecretRef", c.APIKey != nil})
	if c.APIToken != nil {
		p.f.keyRef(c.APIToken, p.field("apiTokenSecretRef")...)
	}
	if c.APIKey != nil {
		p.f.keyRef(c.APIKey, p.field("apiKeySecretRef")...)
		p.f.needs(c.Email, "must be set together with apiKeySecretRef", p.field("email")...)
	}
}

func (p provider) route53(r *cmacme.ACMEIssuerDNS01ProviderRoute53) {
	p.f.atMostOne(p.path, choice{"accessKeyID", r.AccessKeyID != ""}, choice{"accessKeyIDSecretRef", r.SecretAccessKeyID != nil})
	if r.SecretAccessKeyID != nil {
		p.f.keyRef(r.SecretAccessKeyID, p.field("accessKeyIDSecretRef")...)
	}
	if r.Auth != nil && r.Auth.Kubernetes != nil && (r.Auth.Kubernetes.ServiceAccountRef == nil || r.Auth.Kubernetes.ServiceAccountRef.Name == "") {
		p.f.required("must name a ServiceAccount", append(p.field("auth"), "kubernetes", "serviceAccountRef", "name")...)
	}
}

func (p provider) acmeDNS(a *cmacme.ACMEIssuerDNS01ProviderAcmeDNS) {
	p.f.needs(a.Host, "must be the server's address", p.field("host")...)
	p.f.keyRef(&a.AccountSecret, p.field("accountSecretRef")...)
}

// tsigAlgorithms are those of the API , in any case.
var tsigAlgorithms = []string{"HMACMD5", "HMACSHA1", "HMACSHA256", "HMACSHA512"}

func (p provider) rfc2136(r *cmacme.ACMEIssuerDNS01ProviderRFC2136) {
	if r.Nameserver == "" {
		p.f.required("must be the server's address", p.field("nameserver")...)
	} else {
		p.f.hostPort(r.Nameserver, p.field("nameserver")...)
	}
	if r.TSIGAlgorithm != "" && !slices.Contains(tsigAlgorithms, strings.ToUpper(r.TSIGAlgorithm)) {
		p.f.unsupported(r.TSIGAlgorithm, tsigAlgorithms, p.field("tsigAlgorithm")...)
	}
	switch {
	case r.TSIGKeyName != "" && r.TSIGSecret.Name == "":
		p.f.required("must be set together with tsigKeyName", p.field("tsigSecretSecretRef")...)
	case r.TSIGKeyName == "" && r.TSIGSecret.Name != "":
		p.f.required("must be set together with tsigSecretSecretRef", p.field("tsigKeyName")...)
	}
}
