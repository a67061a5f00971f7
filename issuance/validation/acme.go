package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
)

// eabAlgorithmWarning is the one thing that an issuer is warned of.
const eabAlgorithmWarning = "spec.acme.externalAccountBinding.keyAlgorithm is deprecated and does nothing: the algorithm is HS256"

func (f *findings) acme(a *cmacme.ACMEIssuer) (warnings []string) {
	f.needs(a.Server, "must be the URL of the ACME server's directory", "acme", "server")
	if a.Server != "" {
		f.url(a.Server, "acme", "server")
	}
	f.secretRef(&a.PrivateKey, "acme", "privateKeySecretRef")
	if eab := a.ExternalAccountBinding; eab != nil {
		f.needs(eab.KeyID, "must be the key id that the CA has given", "acme", "externalAccountBinding", "keyID")
		f.keyRef(&eab.Key, "acme", "externalAccountBinding", "keySecretRef")
		//lint:ignore SA1019 whoever uses it is to be told
		if eab.KeyAlgorithm != "" {
			warnings = append(warnings, eabAlgorithmWarning)
		}
	}
	f.atMostOne([]any{"acme"}, choice{"caBundle", len(a.CABundle) > 0}, choice{"skipTLSVerify", a.SkipTLSVerify})
	f.certificates(a.CABundle, "acme", "caBundle")
	for i := range a.Solvers {
		f.solver(&a.Solvers[i], i)
	}
	return warnings
}

func (f *findings) solver(s *cmacme.ACMEChallengeSolver, i int) {
	f.oneOf("must say how challenges are solved: http01 or dns01", []any{"acme", "solvers", i},
		choice{"http01", s.HTTP01 != nil}, choice{"dns01", s.DNS01 != nil})
	if w := s.WaitInsteadOfSelfCheck; w != nil && w.Duration < 0 {
		f.invalid(w.Duration.String(), "must not be negative", "acme", "solvers", i, "waitInsteadOfSelfCheck")
	}
	if s.HTTP01 != nil {
		f.http01(s.HTTP01, i)
	}
	if s.DNS01 != nil {
		f.dns01(s.DNS01, []any{"acme", "solvers", i, "dns01"})
	}
}

func (f *findings) http01(h *cmacme.ACMEChallengeSolverHTTP01, i int) {
	path := []any{"acme", "solvers", i, "http01"}
	f.oneOf("must say what serves the challenge: ingress or gatewayHTTPRoute", path,
		choice{"ingress", h.Ingress != nil}, choice{"gatewayHTTPRoute", h.GatewayHTTPRoute != nil})
	if in := h.Ingress; in != nil {
		path := append(slices.Clone(path), "ingress")
		f.atMostOne(path, choice{"ingressClassName", in.IngressClassName != nil}, choice{"class", in.Class != nil}, choice{"name", in.Name != ""})
		if in.IngressClassName != nil {
			for _, msg := range validation.IsDNS1123Subdomain(*in.IngressClassName) {
				f.invalid(*in.IngressClassName, msg, append(slices.Clone(path), "ingressClassName")...)
			}
		}
		f.serviceType(in.ServiceType, append(slices.Clone(path), "serviceType")...)
	}
	if route := h.GatewayHTTPRoute; route != nil {
		path := append(slices.Clone(path), "gatewayHTTPRoute")
		f.serviceType(route.ServiceType, append(slices.Clone(path), "serviceType")...)
		for j := range route.ParentRefs {
			ref := &route.ParentRefs[j]
			f.needs(string(ref.Name), "must name what the route is attached to", append(slices.Clone(path), "parentRefs", j, "name")...)
			if ref.Kind != nil && *ref.Kind == "" {
				f.required("must not be empty where it is set", append(slices.Clone(path), "parentRefs", j, "kind")...)
			}
		}
	}
}

func (f *findings) serviceType(t corev1.ServiceType, steps ...any) {
	switch t {
	case "", corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	default:
		f.unsupported(string(t), []string{string(corev1.ServiceTypeClusterIP), string(corev1.ServiceTypeNodePort)}, steps...)
	}
}
