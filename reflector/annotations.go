package reflector

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Annotations of emberstack's Reflector. The first group is set by people on a source, the second one on a mirror.
const (
	prefix = "reflector.v1.k8s.emberstack.com/"

	annotationAllowed         = prefix + "reflection-allowed"
	annotationAllowedNames    = prefix + "reflection-allowed-namespaces"
	annotationAllowedSelector = prefix + "reflection-allowed-namespaces-selector"
	annotationAuto            = prefix + "reflection-auto-enabled"
	annotationAutoNames       = prefix + "reflection-auto-namespaces"
	annotationAutoSelector    = prefix + "reflection-auto-namespaces-selector"

	annotationReflects         = prefix + "reflects"
	annotationAutoReflects     = prefix + "auto-reflects"
	annotationReflectedVersion = prefix + "reflected-version"
	annotationReflectedAt      = prefix + "reflected-at"
)

// Keys of our own.
const (
	// AnnotationHash is on every mirror written here: a hash of what was written (see Content).
	AnnotationHash = "trustglass.io/reflected-hash"
	// AnnotationDecline on a namespace lists names (comma separated, * for all) that are not created there as automatic
	// mirrors when they are absent. Whoever deletes a mirror by hand and wants it to stay away says so here. Mirrors that
	// exist are kept up to date.
	AnnotationDecline = "trustglass.io/decline-mirrors"
	// LabelAccept with the value "true" on a namespace that is otherwise closed to automatic mirrors (kube-*, the daemon's
	// own) opens it.
	LabelAccept = "trustglass.io/accept-reflections"
)

// FieldManager owns the fields of a mirror that are written here.
const FieldManager = "trustglass-reflector"

// maxReference bounds a `reflects` value: a namespace, a slash, a name, and generous white space.
const maxReference = 512

// Source is what an object's metadata says about reflecting it. The zero scopes hold every namespace.
type Source struct {
	Key     types.NamespacedName
	UID     types.UID
	Version string // resourceVersion

	Allowed   bool
	AllowedIn Scope
	// Auto says that mirrors are created unasked. False for an object that is itself a mirror.
	Auto   bool
	AutoIn Scope

	// Problems freeze the source.
	Problems []Problem
}

// Problem is input that can't be followed, with a Note for the person who wrote it.
type Problem struct {
	Reason Reason
	Note   string
}

// ParseSource reads the annotations of an object. Input that can't be read becomes one of the Problems.
func ParseSource(obj metav1.Object) *Source {
	s := &Source{
		Key:     types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()},
		UID:     obj.GetUID(),
		Version: obj.GetResourceVersion(),
	}
	a := obj.GetAnnotations()
	_, mirror, err := parseReflects(obj)
	if err != nil {
		s.problem(InvalidReference, annotationReflects, err)
	}
	s.Allowed = s.boolean(a, annotationAllowed)
	s.Auto = s.boolean(a, annotationAuto) && s.Allowed && !mirror
	s.AllowedIn = s.scope(a, annotationAllowedNames, annotationAllowedSelector)
	s.AutoIn = s.scope(a, annotationAutoNames, annotationAutoSelector)
	return s
}

func (s *Source) problem(reason Reason, key string, err error) {
	s.Problems = append(s.Problems, Problem{Reason: reason, Note: fmt.Sprintf("annotation %s: %v", key, err)})
}

// boolean follows Reflector in taking true and false in any case, and an absent or blank value as false. Any other value,
// which Reflector takes for false too, is a problem here: a slip of the keyboard must not remove mirrors.
func (s *Source) boolean(a map[string]string, key string) bool {
	v, ok := parseBool(a[key])
	if !ok {
		s.problem(InvalidValue, key, fmt.Errorf("%s is neither true nor false; write one of them", quote(a[key])))
	}
	return v
}

func (s *Source) scope(a map[string]string, names, selector string) (scope Scope) {
	var err error
	if scope.names, err = parsePatterns(a[names]); err != nil {
		s.problem(InvalidPattern, names, err)
	}
	if scope.selector, err = parseSelector(a[selector]); err != nil {
		s.problem(InvalidSelector, selector, err)
	}
	return scope
}

// pushes tells, without compiling anything, whether an object asks for automatic mirrors.
func pushes(obj metav1.Object) bool {
	a := obj.GetAnnotations()
	allowed, _ := parseBool(a[annotationAllowed])
	auto, _ := parseBool(a[annotationAuto])
	if !allowed || !auto {
		return false
	}
	_, mirror, _ := parseReflects(obj)
	return !mirror
}

// speaks tells whether an object carries annotations of a source, or a reference that can't be followed.
func speaks(obj metav1.Object) bool {
	a := obj.GetAnnotations()
	for _, key := range []string{annotationAllowed, annotationAuto, annotationAllowedNames, annotationAllowedSelector, annotationAutoNames, annotationAutoSelector} {
		if _, ok := a[key]; ok {
			return true
		}
	}
	_, _, err := parseReflects(obj)
	return err != nil
}

// parseReflects returns the source an object names, and whether it is a mirror. A bare name makes it a mirror of nothing (as
// in Reflector, where its namespace is empty), with an error; so does a reference to itself. Other values that are not
// namespace/name are an error only. Blank is absent.
func parseReflects(obj metav1.Object) (ref types.NamespacedName, mirror bool, err error) {
	value := strings.TrimSpace(obj.GetAnnotations()[annotationReflects])
	if value == "" {
		return ref, false, nil
	}
	const form = "write it as namespace/name"
	if len(value) > maxReference {
		return ref, false, fmt.Errorf("the value is longer than %d bytes; %s", maxReference, form)
	}
	namespace, name, found := strings.Cut(value, "/")
	namespace, name = strings.TrimSpace(namespace), strings.TrimSpace(name)
	switch {
	case !found:
		return ref, true, fmt.Errorf("%s names no namespace; %s", quote(value), form)
	case strings.Contains(name, "/") || name == "" || namespace == "":
		return ref, false, fmt.Errorf("%s is not one namespace and one name; %s", quote(value), form)
	case len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0:
		return ref, true, fmt.Errorf("%s can't be the name of an object; %s", quote(value), form)
	case namespace == obj.GetNamespace() && name == obj.GetName():
		return ref, true, fmt.Errorf("the object names itself; name the one to copy")
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, true, nil
}

// parseBool reads a .NET boolean: true or false in any case, blank being absent and so false.
func parseBool(value string) (v, ok bool) {
	switch value = strings.TrimSpace(value); {
	case strings.EqualFold(value, "true"):
		return true, true
	case value == "", strings.EqualFold(value, "false"):
		return false, true
	}
	return false, false
}

// splitList splits at commas, trims, and drops blank items.
func splitList(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// quote shortens and quotes user input for a message.
func quote(value string) string {
	const most = 64
	if len(value) > most {
		value = value[:most] + "…"
	}
	return fmt.Sprintf("%q", value)
}

// Keeps tells whether this package needs the labels and annotations of a cached object. It does of every namespace and of
// each Secret and ConfigMap that carries one of the annotations above.
func Keeps(obj *metav1.PartialObjectMetadata) bool {
	if obj.Namespace == "" {
		return true
	}
	for key := range obj.Annotations {
		if strings.HasPrefix(key, prefix) || key == AnnotationHash {
			return true
		}
	}
	return false
}
