package trust

import (
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
	"sigs.k8s.io/controller-runtime/pkg/log"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// maxNamed is how many namespaces or certificates a message names before it counts.
const maxNamed = 3

// outcome sums up what one reconciliation has done.
type outcome struct {
	Applied int
	Cleaned int
	Drift   []string // namespaces whose edited target was put back
	Failed  []failure
	Stale   []error // of decisions that are made again
}

func outcomeOf(done []result) outcome {
	var out outcome
	for _, res := range done {
		apply, applied := res.Action.(Apply)
		_, cleaned := res.Action.(Clean)
		switch {
		case res.stale():
			out.Stale = append(out.Stale, res.Err)
		case res.failed():
			out.Failed = append(out.Failed, failure{Namespace: res.namespace(), Err: res.Err})
		case res.gone():
		case applied:
			out.Applied++
			if apply.Drift {
				out.Drift = append(out.Drift, apply.Namespace)
			}
		case cleaned:
			out.Cleaned++
		}
	}
	return out
}

// report writes the condition if it says something new, sends the Events of what has happened and sets the metrics. Its
// error is why the Bundle has to be looked at again.
func (r *Reconciler) report(ctx context.Context, o observed, done []result) error {
	out := outcomeOf(done)
	observeMetrics(o, out)
	wrong := o.memo.places.problems()
	r.reportChanges(o, out, wrong)
	if n := len(out.Failed); n > 0 {
		log.FromContext(ctx).Error(out.Failed[0].Err, "targets failed and are tried again", "targets", n)
	}
	var again error
	if n := len(out.Stale); n > 0 {
		again = fmt.Errorf("syncing Bundle %s: %d decisions have to be made again: %w", o.Bundle.Name, n, out.Stale[0])
	}
	if again != nil && len(wrong.Failed) == 0 { // nothing is known to be wrong: the condition stays
		return again
	}
	if err := r.reportCondition(ctx, o, conditionOf(o, wrong)); err != nil {
		return err
	}
	return again
}

// reportChanges sends the Events that stand for no condition.
func (r *Reconciler) reportChanges(o observed, out outcome, wrong problems) {
	// What is put back again and again is told once, in the condition.
	drift := slices.DeleteFunc(out.Drift, func(ns string) bool { return slices.Contains(wrong.Contested, ns) })
	if len(drift) > 0 {
		slices.Sort(drift)
		r.event(o.Bundle, corev1.EventTypeWarning, reasonTargetDrift,
			"Put back ConfigMap %q, which another client had changed, in %s", o.Bundle.Name, names(drift))
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
func conditionOf(o observed, wrong problems) metav1.Condition {
	c := metav1.Condition{
		Type: trustapi.BundleConditionSynced, Status: metav1.ConditionFalse,
		ObservedGeneration: o.Bundle.Generation, LastTransitionTime: metav1.NewTime(o.Now),
	}
	switch {
	case o.Refusal != nil:
		c.Reason, c.Message = o.Refusal.Reason, sentence(o.Refusal)
	case len(wrong.Failed)+len(wrong.Conflicts)+len(wrong.Contested) > 0:
		c.Reason, c.Message = reasonTargetFailed, targetProblems(o.Bundle.Name, wrong)
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

// targetProblems names the targets that are not as they should be; the same problems give the same words.
func targetProblems(bundle string, wrong problems) string {
	var parts []string
	if n := len(wrong.Failed); n > 0 {
		var named []string
		for _, f := range wrong.Failed[:min(n, maxNamed)] {
			named = append(named, fmt.Sprintf("%q: %s", f.Namespace, shared.Shorten(cause(f.Err), 200)))
		}
		parts = append(parts, fmt.Sprintf("Failed to sync bundle to %d namespaces (all others are synced): %s%s", n, strings.Join(named, "; "), more(n)))
	}
	if len(wrong.Conflicts) > 0 {
		parts = append(parts, fmt.Sprintf("ConfigMap %q belongs to someone else and was left alone in %s: delete it there, or let the Bundle add its key with the label %s=%s",
			bundle, names(wrong.Conflicts), LabelBundle, bundle))
	}
	if len(wrong.Contested) > 0 {
		who := "another client keeps changing or deleting it; find out which and stop it there"
		if len(wrong.Writers) > 0 {
			who = quoted(wrong.Writers) + " keeps changing it; stop that there"
		}
		parts = append(parts, fmt.Sprintf("ConfigMap %q does not stay as it is written in %s: %s. Until then it is put back at intervals that grow to %s",
			bundle, names(wrong.Contested), who, maxPause))
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
	return fmt.Sprintf("%d namespaces (%s)", len(sorted), quoted(sorted))
}

// quoted names the first of a list and counts the rest.
func quoted(list []string) string {
	var parts []string
	for _, s := range list[:min(len(list), maxNamed)] {
		parts = append(parts, fmt.Sprintf("%q", s))
	}
	return strings.Join(parts, ", ") + more(len(list))
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
	if shared.Version(version) < shared.Version(o.memo.statusVersion) { // the cache has yet to show the own write
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
		r.Events.Eventf(b, kind, reason, "%s", shared.Shorten(fmt.Sprintf(format, args...), 1000))
	}
}
