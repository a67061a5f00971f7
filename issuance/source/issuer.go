package source

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// asks tells whether annotations ask for a Certificate. The automatic ones count on an Ingress only (cert-manager's behaviour).
func asks(kind string, a map[string]string, p Policy) bool {
	_, issuer := a[cmapi.IngressIssuerNameAnnotationKey]
	_, clusterIssuer := a[cmapi.IngressClusterIssuerNameAnnotationKey]
	if issuer || clusterIssuer {
		return true
	}
	return kind == KindIngress && slices.ContainsFunc(p.AutoCertificateAnnotations, func(key string) bool {
		yes, err := strconv.ParseBool(a[key])
		return yes && err == nil
	})
}

// readIssuer reads the four annotations that name an issuer. Those that contradict each other are refused.
func (w *Wish) readIssuer(a map[string]string, p Policy) error {
	ref := p.DefaultIssuer
	issuer, named := a[cmapi.IngressIssuerNameAnnotationKey]
	clusterIssuer, clusterNamed := a[cmapi.IngressClusterIssuerNameAnnotationKey]
	kind, hasKind := a[cmapi.IssuerKindAnnotationKey]
	group, hasGroup := a[cmapi.IssuerGroupAnnotationKey]
	var errs []error
	exclude := func(both bool, one, other string) {
		if both {
			errs = append(errs, fmt.Errorf("annotations %s and %s exclude each other: remove one", one, other))
		}
	}
	exclude(named && clusterNamed, cmapi.IngressIssuerNameAnnotationKey, cmapi.IngressClusterIssuerNameAnnotationKey)
	exclude(clusterNamed && hasKind, cmapi.IngressClusterIssuerNameAnnotationKey, cmapi.IssuerKindAnnotationKey)
	exclude(clusterNamed && hasGroup, cmapi.IngressClusterIssuerNameAnnotationKey, cmapi.IssuerGroupAnnotationKey)
	if named {
		ref.Name, ref.Kind = issuer, cmapi.IssuerKind
	}
	if clusterNamed {
		ref.Name, ref.Kind = clusterIssuer, cmapi.ClusterIssuerKind
	}
	if hasKind {
		ref.Kind = kind
	}
	if hasGroup {
		ref.Group = group
	}
	w.Spec.IssuerRef = ref
	if full := pki.WithDefaults(ref); full.Group == pki.Group && full.Kind != cmapi.IssuerKind && full.Kind != cmapi.ClusterIssuerKind {
		errs = append(errs, fmt.Errorf("annotation %s: %q is neither Issuer nor ClusterIssuer; an issuer of another kind needs its group in annotation %s",
			cmapi.IssuerKindAnnotationKey, full.Kind, cmapi.IssuerGroupAnnotationKey))
	}
	if ref.Name == "" {
		errs = append(errs, fmt.Errorf("no issuer: name one in annotation %s or %s, there is no default",
			cmapi.IngressIssuerNameAnnotationKey, cmapi.IngressClusterIssuerNameAnnotationKey))
	}
	return errors.Join(errs...)
}

// inherit returns the annotations of a ListenerSet with those of its Gateway that name an issuer, where it names none itself.
func inherit(own, parent map[string]string) map[string]string {
	_, issuer := own[cmapi.IngressIssuerNameAnnotationKey]
	_, clusterIssuer := own[cmapi.IngressClusterIssuerNameAnnotationKey]
	if issuer || clusterIssuer {
		return own
	}
	out := maps.Clone(own)
	if out == nil {
		out = map[string]string{}
	}
	for _, key := range []string{
		cmapi.IngressIssuerNameAnnotationKey, cmapi.IngressClusterIssuerNameAnnotationKey,
		cmapi.IssuerKindAnnotationKey, cmapi.IssuerGroupAnnotationKey,
	} {
		if v, ok := parent[key]; ok {
			if _, set := out[key]; !set {
				out[key] = v
			}
		}
	}
	return out
}
