package validation

import (
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func (f *findings) venafi(v *cmapi.VenafiIssuer) {
	f.needs(v.Zone, "must be the zone that certificates come from", "venafi", "zone")
	f.oneOf("must say which platform it is: tpp, cloud or ngts", []any{"venafi"},
		choice{"tpp", v.TPP != nil}, choice{"cloud", v.Cloud != nil}, choice{"ngts", v.NGTS != nil})
	if t := v.TPP; t != nil {
		f.url(t.URL, "venafi", "tpp", "url")
		f.bundle(t.CABundle, t.CABundleSecretRef, "venafi", "tpp")
	}
	if c := v.Cloud; c != nil {
		if c.URL != "" {
			f.url(c.URL, "venafi", "cloud", "url")
		}
		f.secretRef(&c.APITokenSecretRef, "venafi", "cloud", "apiTokenSecretRef")
	}
	if n := v.NGTS; n != nil {
		f.needs(n.TSGID, "must be the id of the tenant service group", "venafi", "ngts", "tsgID")
		f.needs(n.CredentialsRef.Name, "must name a Secret", "venafi", "ngts", "credentialsRef", "name")
		if n.URL != "" {
			f.url(n.URL, "venafi", "ngts", "url")
		}
		if n.TokenEndpoint != "" {
			f.url(n.TokenEndpoint, "venafi", "ngts", "tokenEndpoint")
		}
	}
}
