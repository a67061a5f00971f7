package source

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	certvalidation "github.com/trustglass/trustglass/issuance/validation"
)

// Kinds of sources.
const (
	KindIngress     = "Ingress"
	KindGateway     = "Gateway"
	KindListenerSet = "ListenerSet"
)

// labelApplySet marks the parts of an applied set: a Certificate that carried it would be pruned as no longer applied.
const labelApplySet = "applyset.kubernetes.io/part-of"

// Reasons of Events on a source. The first four are cert-manager's.
const (
	ReasonBadConfig = "BadConfig"
	ReasonCreated   = "CreateCertificate"
	ReasonUpdated   = "UpdateCertificate"
	ReasonDeleted   = "DeleteCertificate"
	// ReasonCertificateConflict says that a Certificate of the name that is needed belongs to somebody else.
	ReasonCertificateConflict = "CertificateConflict"
	// ReasonSecretConflict says that a Secret of the name that is needed holds something else.
	ReasonSecretConflict = "SecretConflict"
	// ReasonFailed says that the API server did not take a write. It is tried again.
	ReasonFailed = "CertificateFailed"
)

// Problem is input that can't be followed, with a Message for the person who wrote it.
type Problem struct{ Reason, Message string }

// Entry is a Secret that a source wants, with the names that its certificate must have.
type Entry struct {
	SecretName  string
	DNSNames    []string
	IPAddresses []string
}

// Source is what an object asks for.
type Source struct {
	Kind string
	Key  types.NamespacedName
	UID  types.UID
	// Labels and Annotations are for its Certificates.
	Labels, Annotations map[string]string
	// Wish is nil when the object asks for nothing, or for what can't be followed.
	Wish    *Wish
	Entries []Entry
	// Names are all the Secrets in the object's spec, those of entries that can't be followed too.
	Names    map[string]bool
	Problems []Problem
}

func newSource(kind string, meta metav1.Object) *Source {
	s := &Source{
		Kind: kind, Key: types.NamespacedName{Namespace: meta.GetNamespace(), Name: meta.GetName()}, UID: meta.GetUID(),
		Labels: maps.Clone(meta.GetLabels()), Names: map[string]bool{},
	}
	delete(s.Labels, labelApplySet)
	return s
}

// wish reads the annotations. It returns false when there is nothing to be done for the object.
func (s *Source) wish(a map[string]string, p Policy) bool {
	w, err := ParseWish(s.Kind, a, p)
	if err != nil {
		s.problem(ReasonBadConfig, "%v", err)
	}
	s.Wish = w
	if w == nil {
		return false
	}
	s.Annotations = map[string]string{}
	for _, key := range p.ExtraCertificateAnnotations {
		if v, ok := a[key]; ok {
			s.Annotations[key] = v
		}
	}
	for from, to := range map[string]string{
		cmapi.IngressACMEIssuerHTTP01IngressClassAnnotationKey:     cmacme.ACMECertificateHTTP01IngressClassOverride,
		cmapi.IngressACMEIssuerHTTP01IngressClassNameAnnotationKey: cmacme.ACMECertificateHTTP01IngressClassNameOverride,
	} {
		if a[from] != "" {
			s.Annotations[to] = a[from]
		}
	}
	if a[cmacme.IngressEditInPlaceAnnotationKey] == "true" {
		s.Annotations[cmacme.ACMECertificateHTTP01IngressNameOverride] = s.Key.Name
		s.Annotations[cmapi.IssueTemporaryCertificateAnnotation] = "true"
	}
	return true
}

func (s *Source) problem(reason, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{reason, fmt.Sprintf(format, args...)})
}

// ParseIngress reads an Ingress. Entries that name one Secret twice are left out: neither can have it alone, and a Certificate
// for both would let one change the other's names.
func ParseIngress(ing *networkingv1.Ingress, p Policy) *Source {
	s := newSource(KindIngress, ing)
	if !s.wish(ing.Annotations, p) {
		return s
	}
	if len(ing.Spec.TLS) > maxNames {
		s.Wish = nil
		s.problem(ReasonBadConfig, "spec.tls: %d entries are more than the %d allowed", len(ing.Spec.TLS), maxNames)
		return s
	}
	first := map[string]int{}
	twice := map[string]bool{}
	for i, tls := range ing.Spec.TLS {
		name := tls.SecretName
		s.Names[name] = true
		if j, seen := first[name]; seen && name != "" {
			twice[name] = true
			s.problem(ReasonBadConfig, "spec.tls[%d].secretName: %q is the Secret of spec.tls[%d] too: put the hosts of both into one entry", i, name, j)
			continue
		}
		first[name] = i
		s.add(fmt.Sprintf("spec.tls[%d]", i), "hosts", name, tls.Hosts)
	}
	s.Entries = slices.DeleteFunc(s.Entries, func(e Entry) bool { return twice[e.SecretName] })
	s.validate()
	return s
}

// ParseGateway reads a Gateway.
func ParseGateway(g *gwapi.Gateway, p Policy) *Source {
	s := newSource(KindGateway, g)
	if !s.wish(g.Annotations, p) {
		return s
	}
	s.Annotations[cmacme.ACMECertificateHTTP01ParentRefKind] = KindGateway
	s.Annotations[cmacme.ACMECertificateHTTP01ParentRefName] = g.Name
	s.addListeners(g.Spec.Listeners, p)
	return s
}

// ParseListenerSet reads a ListenerSet, whose issuer may be named by its Gateway. Without a Gateway it asks for nothing. Where the
// daemon can't know whether there is one, it goes by what the ListenerSet says itself.
func ParseListenerSet(l *gwapi.ListenerSet, parent *gwapi.Gateway, p Policy) *Source {
	s := newSource(KindListenerSet, l)
	at, annotations := parentOf(l), l.Annotations
	switch {
	case p.outOfReach(at):
		if !asks(KindListenerSet, annotations, p) {
			s.problem(ReasonBadConfig, "spec.parentRef: Gateway %s is out of reach of this daemon, which works in namespace %s only: where it names an issuer, "+
				"name that in annotation %s or %s of this ListenerSet", at, p.Namespace, cmapi.IngressIssuerNameAnnotationKey, cmapi.IngressClusterIssuerNameAnnotationKey)
		}
	case parent == nil:
		return s
	default:
		annotations = inherit(annotations, parent.Annotations)
	}
	if !s.wish(annotations, p) {
		return s
	}
	if direct, err := strconv.ParseBool(l.Annotations[cmacme.ACMECertificateHTTP01ParentRefFallback]); err == nil && direct {
		s.Annotations[cmacme.ACMECertificateHTTP01ParentRefKind] = KindGateway
		s.Annotations[cmacme.ACMECertificateHTTP01ParentRefName] = at.Name
		s.Annotations[cmacme.ACMECertificateHTTP01ParentRefNamespace] = at.Namespace
	} else {
		s.Annotations[cmacme.ACMECertificateHTTP01ParentRefKind] = KindListenerSet
		s.Annotations[cmacme.ACMECertificateHTTP01ParentRefName] = l.Name
	}
	listeners := make([]gwapi.Listener, len(l.Spec.Listeners))
	for i := range l.Spec.Listeners {
		listeners[i] = gwapi.Listener(l.Spec.Listeners[i])
	}
	s.addListeners(listeners, p)
	return s
}

// parentOf returns the Gateway that a ListenerSet belongs to.
func parentOf(l *gwapi.ListenerSet) types.NamespacedName {
	key := types.NamespacedName{Namespace: l.Namespace, Name: string(l.Spec.ParentRef.Name)}
	if ns := l.Spec.ParentRef.Namespace; ns != nil && *ns != "" {
		key.Namespace = string(*ns)
	}
	return key
}

// addListeners adds the Secrets of all listeners that end TLS. Those that share one share a Certificate with all their names.
func (s *Source) addListeners(listeners []gwapi.Listener, p Policy) {
	for i := range listeners {
		l := &listeners[i]
		if l.TLS == nil {
			if usesTLS(l.Protocol, p) && !slices.Contains(s.Wish.IgnoredListeners, string(l.Name)) {
				s.problem(ReasonBadConfig, "spec.listeners[%d].tls: there is none: listener %q is left out", i, l.Name)
			}
			continue
		}
		for _, ref := range l.TLS.CertificateRefs {
			s.Names[string(ref.Name)] = true
		}
		passes := l.TLS.Mode != nil && *l.TLS.Mode == gwapi.TLSModePassthrough
		if passes || !usesTLS(l.Protocol, p) || slices.Contains(s.Wish.IgnoredListeners, string(l.Name)) {
			continue
		}
		s.addListener(fmt.Sprintf("spec.listeners[%d]", i), l)
	}
	s.validate()
}

func usesTLS(protocol gwapi.ProtocolType, p Policy) bool {
	return protocol == gwapi.HTTPSProtocolType || protocol == gwapi.TLSProtocolType || slices.Contains(p.GatewayAPIExtraProtocols, string(protocol))
}

func (s *Source) addListener(path string, l *gwapi.Listener) {
	if l.TLS.Mode != nil && *l.TLS.Mode != gwapi.TLSModeTerminate {
		s.problem(ReasonBadConfig, "%s.tls.mode: %q is not Terminate: listener %q is left out", path, *l.TLS.Mode, l.Name)
		return
	}
	if l.Hostname == nil || *l.Hostname == "" {
		s.problem(ReasonBadConfig, "%s.hostname: there is none, so there is nothing to issue a certificate for: listener %q is left out", path, l.Name)
		return
	}
	if len(l.TLS.CertificateRefs) == 0 {
		s.problem(ReasonBadConfig, "%s.tls.certificateRefs: there is none: listener %q is left out", path, l.Name)
		return
	}
	for j, ref := range l.TLS.CertificateRefs {
		at := fmt.Sprintf("%s.tls.certificateRefs[%d]", path, j)
		switch {
		case ref.Group != nil && *ref.Group != "" && *ref.Group != "core", ref.Kind != nil && *ref.Kind != "" && *ref.Kind != "Secret":
			s.problem(ReasonBadConfig, "%s: it refers to something else than a Secret and is left out", at)
		case ref.Namespace != nil && string(*ref.Namespace) != s.Key.Namespace:
			s.problem(ReasonBadConfig, "%s.namespace: Secret %s/%s is in another namespace than this %s and is left out", at, *ref.Namespace, ref.Name, s.Kind)
		default:
			s.add(at, "hostname", string(ref.Name), []string{string(*l.Hostname)})
		}
	}
}

// add adds names to the entry of a Secret.
func (s *Source) add(path, hostsField, secretName string, hosts []string) {
	if len(hosts) == 0 {
		s.problem(ReasonBadConfig, "%s.%s: there is none, so there is nothing to issue a certificate for: the entry is left out", path, hostsField)
		return
	}
	if len(hosts) > maxNames {
		s.problem(ReasonBadConfig, "%s.%s: %d names are more than the %d allowed: the entry is left out", path, hostsField, len(hosts), maxNames)
		return
	}
	if msgs := validation.IsDNS1123Subdomain(secretName); len(msgs) > 0 {
		s.problem(ReasonBadConfig, "%s: %q is not a Secret's name (%s): the entry is left out", path, secretName, strings.Join(msgs, ", "))
		return
	}
	i := slices.IndexFunc(s.Entries, func(e Entry) bool { return e.SecretName == secretName })
	if i < 0 {
		i = len(s.Entries)
		s.Entries = append(s.Entries, Entry{SecretName: secretName})
	}
	e := &s.Entries[i]
	for _, host := range hosts {
		if net.ParseIP(host) != nil {
			e.IPAddresses = appendNew(e.IPAddresses, host)
		} else {
			e.DNSNames = appendNew(e.DNSNames, host)
		}
	}
}

// validate leaves out entries whose Certificate could not be issued. Nobody else says so before it is made: admission does not look at
// what the daemon writes.
func (s *Source) validate() {
	s.Entries = slices.DeleteFunc(s.Entries, func(e Entry) bool {
		errs := certvalidation.Certificate(&cmapi.Certificate{Spec: specFor(s.Wish, e)})
		if len(errs) > 0 {
			s.problem(ReasonBadConfig, "the entry of Secret %s is left out, since its Certificate could not be issued: %v", e.SecretName, errs.ToAggregate())
		}
		return len(errs) > 0
	})
}

// appendNew appends what a list doesn't have yet.
func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
