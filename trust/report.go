package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

// maxNamed is how many namespaces or certificates a message names before it counts.
const maxNamed = 3

// report writes the condition if it says something new, sends the Events of what has happened and sets the metrics. Its
// error is why the Bundle has to be looked at again.
func (r *Reconciler) report(ctx context.Context, o observed, out *outcome) error {
	observeMetrics(o, out)
	r.reportChanges(o, out)
	if n := len(out.Stale); n > 0 && len(out.Failed) == 0 { // nothing is known to be wrong: the condition stays
		return fmt.Errorf("syncing Bundle %s: %d decisions have to be made again: %w", o.Bundle.Name, n, out.Stale[0])
	}
	if err := r.reportCondition(ctx, o, conditionOf(o, out)); err != nil {
		return err
	}
	if len(out.Failed) > 0 {
		return fmt.Errorf("syncing Bundle %s: %d targets failed: %w", o.Bundle.Name, len(out.Failed), out.Failed[0].Err)
	}
	return nil
}

// reportChanges sends the Events that stand for no condition.
func (r *Reconciler) reportChanges(o observed, out *outcome) {
	if len(out.Drift) > 0 {
		slices.Sort(out.Drift)
		r.event(o.Bundle, corev1.EventTypeWarning, reasonTargetDrift,
			"Put back ConfigMap %q, which another client had changed, in %s", o.Bundle.Name, names(out.Drift))
	}
	if o.Refusal != nil || o.memo.before == nil {
		return
	}
	if diff := difference(o.memo.before, o.Pool.Certificates); diff != "" && o.State.Want != nil {
		r.event(o.Bundle, corev1.EventTypeNormal, reasonBundleChanged, "%s", diff)
	}
	o.memo.before = nil
}

// conditionOf says in one condition how the Bundle is.
func conditionOf(o observed, out *outcome) metav1.Condition {
	c := metav1.Condition{
		Type: trustapi.BundleConditionSynced, Status: metav1.ConditionFalse,
		ObservedGeneration: o.Bundle.Generation, LastTransitionTime: metav1.NewTime(o.Now),
	}
	switch {
	case o.Refusal != nil:
		c.Reason, c.Message = o.Refusal.Reason, sentence(o.Refusal)
	case len(out.Failed) > 0 || len(out.Conflicts) > 0:
		c.Reason, c.Message = reasonTargetFailed, targetProblems(o.Bundle.Name, out)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reasonSynced, "Successfully synced Bundle to all namespaces"
		if !o.Selector.Empty() {
			c.Message = fmt.Sprintf("Successfully synced Bundle to namespaces that match this label selector: %s", o.Selector)
		}
	}
	return c
}

func sentence(r *Refusal) string {
	switch r.Reason {
	case reasonSourceNotFound:
		return "Bundle source was not found: " + r.Message
	case reasonSourceBuildError:
		return "Failed to build bundle sources: " + r.Message
	}
	return r.Message
}

// targetProblems names failed and conflicting targets; the same problems give the same words.
func targetProblems(bundle string, out *outcome) string {
	var parts []string
	if n := len(out.Failed); n > 0 {
		slices.SortFunc(out.Failed, func(a, b failure) int { return cmp.Compare(a.Namespace, b.Namespace) })
		var named []string
		for _, f := range out.Failed[:min(n, maxNamed)] {
			named = append(named, fmt.Sprintf("%q: %s", f.Namespace, shorten(cause(f.Err), 200)))
		}
		parts = append(parts, fmt.Sprintf("Failed to sync bundle to %d namespaces (all others are synced): %s%s", n, strings.Join(named, "; "), more(n)))
	}
	if len(out.Conflicts) > 0 {
		slices.Sort(out.Conflicts)
		parts = append(parts, fmt.Sprintf("ConfigMap %q belongs to someone else and was left alone in %s: delete it there, or let the Bundle add its key with the label %s=%s",
			bundle, names(out.Conflicts), LabelBundle, bundle))
	}
	return strings.Join(parts, ". ")
}

// cause returns the API's own words without the context that this package has added.
func cause(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err.Error()
}

func names(sorted []string) string {
	n := len(sorted)
	var quoted []string
	for _, s := range sorted[:min(n, maxNamed)] {
		quoted = append(quoted, fmt.Sprintf("%q", s))
	}
	return fmt.Sprintf("%d namespaces (%s%s)", n, strings.Join(quoted, ", "), more(n))
}

func more(n int) string {
	if n > maxNamed {
		return fmt.Sprintf(" and %d more", n-maxNamed)
	}
	return ""
}

// difference tells which certificates came and went, empty if none.
func difference(before, after []Certificate) string {
	lacks := func(list []Certificate) func(Certificate) bool {
		known := map[string]bool{}
		for _, c := range list {
			known[c.Fingerprint] = true
		}
		return func(c Certificate) bool { return known[c.Fingerprint] }
	}
	added := slices.DeleteFunc(slices.Clone(after), lacks(before))
	removed := slices.DeleteFunc(slices.Clone(before), lacks(after))
	var parts []string
	for verb, list := range map[string][]Certificate{"Added": added, "Removed": removed} {
		if len(list) == 0 {
			continue
		}
		var named []string
		for _, c := range list[:min(len(list), maxNamed)] {
			named = append(named, fmt.Sprintf("%s (sha256 %.16s)", c.Subject, c.Fingerprint))
		}
		parts = append(parts, fmt.Sprintf("%s %s%s", verb, strings.Join(named, ", "), more(len(list))))
	}
	slices.Sort(parts)
	return strings.Join(parts, ". ")
}

// reportCondition writes the status, once, if the condition differs from the newest one known, and says the same in an Event.
func (r *Reconciler) reportCondition(ctx context.Context, o observed, c metav1.Condition) error {
	have, version := o.Bundle.Status.Conditions, o.Bundle.ResourceVersion
	if versionOf(version) < versionOf(o.memo.statusVersion) { // the cache has yet to show the own write
		have, version = o.memo.status, o.memo.statusVersion
	}
	if old := meta.FindStatusCondition(have, c.Type); old != nil {
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if *old == c {
			return nil
		}
	}
	u, err := statusConfig(o.Bundle, c, version)
	if err != nil {
		return err
	}
	err = r.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("writing the status of Bundle %s: %w", o.Bundle.Name, err)
	}
	o.memo.statusVersion, o.memo.status = u.GetResourceVersion(), []metav1.Condition{c}
	kind := corev1.EventTypeNormal
	if c.Status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	r.event(o.Bundle, kind, c.Reason, "%s", c.Message)
	return nil
}

// statusConfig is the status as this daemon owns it. While targets keep an older content, so does the version of the default
// CAs that trust-manager may have put into them.
func statusConfig(b *trustapi.Bundle, c metav1.Condition, version string) (*unstructured.Unstructured, error) {
	condition, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
	if err != nil {
		return nil, fmt.Errorf("encoding a condition: %w", err)
	}
	status := map[string]any{"conditions": []any{condition}}
	if v := b.Status.DefaultCAPackageVersion; v != "" && c.Status != metav1.ConditionTrue {
		status["defaultCAVersion"] = v
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(trustapi.SchemeGroupVersion.WithKind(trustapi.BundleKind))
	u.SetName(b.Name)
	u.SetResourceVersion(version)
	return u, nil
}

func (r *Reconciler) event(b *trustapi.Bundle, kind, reason, format string, args ...any) {
	if r.Events != nil {
		r.Events.Eventf(b, kind, reason, "%s", shorten(fmt.Sprintf(format, args...), 1000))
	}
}
