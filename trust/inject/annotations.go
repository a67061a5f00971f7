package inject

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// Annotations of targets, and the one by which a Secret agrees to be a source.
const (
	annotationFromSecret      = cmapi.WantInjectFromSecretAnnotation
	annotationFromCertificate = cmapi.WantInjectAnnotation
	annotationFromAPIServer   = cmapi.WantInjectAPIServerCAAnnotation
	annotationAllowed         = cmapi.AllowsInjectionFromSecretAnnotation
)

// Kinds of sources.
const (
	fromSecret      = "Secret"
	fromCertificate = "Certificate"
	fromAPIServer   = "API server"
)

// Ref names a source.
type Ref struct {
	Kind string // Secret, Certificate or API server; empty: none
	types.NamespacedName
}

func (r Ref) String() string {
	if r.Kind == fromAPIServer {
		return "the API server"
	}
	return fmt.Sprintf("%s %s", r.Kind, r.NamespacedName)
}

// Refusal says why nothing is injected, in words for whoever can change it. Retrying does not help: something that is
// watched has to change. Only where the API server refuses the write is it tried again, every maxRecheck.
type Refusal struct {
	Reason, Message string
}

// Reasons of Events on targets.
const (
	reasonInjected          = "CAInjected"
	reasonInvalidAnnotation = "InvalidInjectAnnotation"
	reasonSourceNotFound    = "InjectSourceNotFound"
	reasonSourceNotAllowed  = "InjectSourceNotAllowed"
	reasonSourceInvalid     = "InjectSourceInvalid"
	reasonTargetRefused     = "InjectTargetRefused"
)

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Keeps tells whether an object asks for injection, so that its annotations have to stay in the cache.
func Keeps(obj metav1.Object) bool {
	a := obj.GetAnnotations()
	for _, key := range []string{annotationFromSecret, annotationFromCertificate, annotationFromAPIServer} {
		if _, ok := a[key]; ok {
			return true
		}
	}
	return false
}

// ParseRequest reads which source a target asks for. An empty Ref asks for nothing.
func ParseRequest(annotations map[string]string) (Ref, *Refusal) {
	for _, a := range []struct{ key, kind string }{
		{annotationFromSecret, fromSecret}, {annotationFromCertificate, fromCertificate},
	} {
		if value, ok := annotations[a.key]; ok {
			return parseRef(a.key, a.kind, value)
		}
	}
	switch value := annotations[annotationFromAPIServer]; value {
	case "true":
		return Ref{Kind: fromAPIServer}, nil
	case "", "false":
		return Ref{}, nil
	default:
		return Ref{}, refuse(reasonInvalidAnnotation, "annotation %s is %.40q; set it to \"true\", or remove it", annotationFromAPIServer, value)
	}
}

func parseRef(key, kind, value string) (Ref, *Refusal) {
	namespace, name, ok := strings.Cut(value, "/")
	if !ok {
		return Ref{}, refuse(reasonInvalidAnnotation, "annotation %s is %.80q and must be NAMESPACE/NAME of a %s", key, value, kind)
	}
	if msgs := validation.IsDNS1123Label(namespace); len(msgs) > 0 {
		return Ref{}, refuse(reasonInvalidAnnotation, "annotation %s must be NAMESPACE/NAME of a %s, and %.80q is not the name of a namespace", key, kind, namespace)
	}
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return Ref{}, refuse(reasonInvalidAnnotation, "annotation %s must be NAMESPACE/NAME of a %s, and %.80q is not the name of one", key, kind, name)
	}
	return Ref{Kind: kind, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}, nil
}
