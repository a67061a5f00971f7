package trust

import (
	"cmp"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

const maxSources = 100 // the CRD's limit

// Validate checks what admission checks (the CRD's own rules and those of trust-manager's webhook). The reconciler calls it
// too, so that a Bundle that went past admission gains nothing.
func Validate(b *trustapi.Bundle) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateSources(b, spec.Child("sources"))
	if b.Spec.Target == (trustapi.BundleTarget{}) {
		return errs
	}
	return append(errs, validateTarget(b.Spec.Target, spec.Child("target"))...)
}

func validateSources(b *trustapi.Bundle, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	effective, defaults := 0, 0
	for i, s := range b.Spec.Sources {
		p := path.Index(i)
		if kinds := sourceKinds(s); len(kinds) != 1 {
			errs = append(errs, field.Invalid(p, strings.Join(kinds, ", "), "must have exactly one of configMap, secret, inLine, useDefaultCAs"))
		}
		errs = append(errs, validateRef(s.ConfigMap, p.Child("configMap"))...)
		errs = append(errs, validateRef(s.Secret, p.Child("secret"))...)
		if len(s.InLine) > maxInputBytes {
			errs = append(errs, field.TooLong(p.Child("inLine"), "", maxInputBytes))
		}
		if readsOwnTarget(b.Name, s.ConfigMap, b.Spec.Target.ConfigMap) {
			errs = append(errs, field.Forbidden(p.Child("configMap"), "is the Bundle's own target"))
		}
		if readsOwnTarget(b.Name, s.Secret, b.Spec.Target.Secret) {
			errs = append(errs, field.Forbidden(p.Child("secret"), "is the Bundle's own target"))
		}
		if s.UseDefaultCAs != nil {
			defaults++
		}
		if s.UseDefaultCAs == nil || *s.UseDefaultCAs {
			effective++
		}
	}
	if effective == 0 {
		errs = append(errs, field.Required(path, "must have at least one source"))
	}
	if len(b.Spec.Sources) > maxSources {
		errs = append(errs, field.TooMany(path, len(b.Spec.Sources), maxSources))
	}
	if defaults > 1 {
		errs = append(errs, field.Forbidden(path, "may have useDefaultCAs once only"))
	}
	return errs
}

func sourceKinds(s trustapi.BundleSource) (kinds []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"configMap", s.ConfigMap != nil}, {"secret", s.Secret != nil},
		{"inLine", s.InLine != ""}, {"useDefaultCAs", s.UseDefaultCAs != nil},
	} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}

func validateRef(ref *trustapi.SourceObjectKeySelector, path *field.Path) field.ErrorList {
	if ref == nil {
		return nil
	}
	var errs field.ErrorList
	if (ref.Name != "") == (ref.Selector != nil) {
		errs = append(errs, field.Invalid(path, ref.Name, "must have exactly one of name, selector"))
	}
	if (ref.Key != "") == ptr.Deref(ref.IncludeAllKeys, false) {
		errs = append(errs, field.Invalid(path, ref.Key, "must have exactly one of key, includeAllKeys: true"))
	}
	if _, err := metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), metav1.FormatLabelSelector(ref.Selector), err.Error()))
	}
	return errs
}

// readsOwnTarget tells whether a source feeds a Bundle with its own output, which would never let go of a certificate.
func readsOwnTarget(bundle string, ref *trustapi.SourceObjectKeySelector, target *trustapi.TargetTemplate) bool {
	return ref != nil && target != nil && ref.Name == bundle && (ref.Key == target.Key || ptr.Deref(ref.IncludeAllKeys, false))
}

func validateTarget(t trustapi.BundleTarget, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.ConfigMap == nil && t.Secret == nil {
		errs = append(errs, field.Required(path, "must have configMap or secret"))
	}
	if t.ConfigMap != nil {
		errs = append(errs, validateTemplate(*t.ConfigMap, t.AdditionalFormats, path.Child("configMap"))...)
	}
	if t.Secret != nil {
		errs = append(errs, validateTemplate(*t.Secret, t.AdditionalFormats, path.Child("secret"))...)
	}
	if f := t.AdditionalFormats; f != nil && f.JKS != nil && f.PKCS12 != nil && f.JKS.Key == f.PKCS12.Key {
		errs = append(errs, field.Duplicate(path.Child("additionalFormats", "pkcs12", "key"), f.PKCS12.Key))
	}
	if _, err := metav1.LabelSelectorAsSelector(t.NamespaceSelector); err != nil {
		errs = append(errs, field.Invalid(path.Child("namespaceSelector"), metav1.FormatLabelSelector(t.NamespaceSelector), err.Error()))
	}
	return errs
}

func validateTemplate(t trustapi.TargetTemplate, f *trustapi.AdditionalFormats, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, problem := range validation.IsConfigMapKey(t.Key) {
		errs = append(errs, field.Invalid(path.Child("key"), t.Key, problem))
	}
	if f != nil && (f.JKS != nil && f.JKS.Key == t.Key || f.PKCS12 != nil && f.PKCS12.Key == t.Key) {
		errs = append(errs, field.Duplicate(path.Child("key"), t.Key))
	}
	meta := path.Child("metadata")
	errs = append(errs, apivalidation.ValidateAnnotations(t.Metadata.Annotations, meta.Child("annotations"))...)
	errs = append(errs, metavalidation.ValidateLabels(t.Metadata.Labels, meta.Child("labels"))...)
	for name, m := range map[string]map[string]string{"annotations": t.Metadata.Annotations, "labels": t.Metadata.Labels} {
		for k := range m {
			for _, prefix := range reservedPrefixes {
				if strings.HasPrefix(k, prefix) {
					errs = append(errs, field.Forbidden(meta.Child(name).Key(k), "the prefix "+prefix+" is reserved"))
				}
			}
		}
	}
	return errs
}

// check returns why a Bundle cannot be served whatever its sources hold, nil if it can.
func check(b *trustapi.Bundle) *Refusal {
	if errs := Validate(b); len(errs) > 0 {
		// In an order that is the same each time: a condition must not flap.
		slices.SortFunc(errs, func(a, b *field.Error) int { return cmp.Compare(a.Error(), b.Error()) })
		reason := reasonTargetFailed
		switch first := errs[0].Field; {
		case strings.HasPrefix(first, "spec.sources"):
			reason = reasonSourceBuildError
		case strings.HasPrefix(first, "spec.target.namespaceSelector"):
			reason = reasonNamespaceSelectorError
		}
		return refuse(reason, "the Bundle is not valid: %s", shared.Shorten(errs.ToAggregate().Error(), 900))
	}
	for i, s := range b.Spec.Sources {
		if ptr.Deref(s.UseDefaultCAs, false) {
			return refuse(reasonSourceBuildError,
				"spec.sources[%d]: there is no default CA package here; put the public roots into a ConfigMap of the trust namespace and name it as a source", i)
		}
	}
	if b.Spec.Target.Secret != nil {
		return refuse(reasonSecretTargetsDisabled, "spec.target.secret: Secret targets are disabled; use spec.target.configMap")
	}
	if b.Spec.Target.AdditionalFormats != nil {
		return refuse(reasonTargetFailed, "spec.target.additionalFormats: JKS and PKCS#12 are not supported; remove the field to have PEM published")
	}
	return nil
}

// selectorOf returns the namespaces of a valid Bundle; none given means all.
func selectorOf(t trustapi.BundleTarget) (labels.Selector, error) {
	if t.NamespaceSelector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(t.NamespaceSelector)
}
