package inject

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

// FieldManager owns the caBundles of targets. It is cert-manager's, so that either can take over from the other.
const FieldManager = "cert-manager-cainjector"

// outcome is what became of a decision.
type outcome struct {
	Decision Decision  // a Refuse if the API server would not have the target as it was to be
	Version  string    // of the target, as it is now
	Until    time.Time // when to decide again though nothing has changed; zero for never
	Err      error
}

// apply carries out a decision: at most one write.
func (r *Reconciler) apply(ctx context.Context, o observed, todo Decision) outcome {
	inject, ok := todo.(Inject)
	if !ok {
		kept, _ := todo.(Keep)
		return outcome{Decision: todo, Version: o.Target.ResourceVersion, Until: kept.Until}
	}
	body, err := r.body(o, inject.Slots)
	if err != nil {
		return outcome{Decision: todo, Err: err}
	}
	answer := r.Kind.Metadata() // asked for as metadata: that spares sending the whole object back
	answer.Name = o.Target.Name
	err = r.Client.Patch(ctx, answer, client.RawPatch(types.ApplyYAMLPatchType, body), client.FieldOwner(FieldManager), client.ForceOwnership)
	switch {
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		// Admission answers so too, and nothing that is watched changes when it would let the write pass.
		refusal := refuse(reasonTargetRefused, "the API server does not accept the CA here; correct the object: %s", shared.Shorten(err.Error(), 400))
		return outcome{Decision: Refuse{refusal}, Version: o.Target.ResourceVersion, Until: o.State.Now.Add(maxRecheck)}
	case err != nil:
		return outcome{Decision: todo, Err: fmt.Errorf("injecting the CA of %s into %s %s: %w", o.Ask, r.Kind.Kind, o.Target.Name, err)}
	}
	return outcome{Decision: todo, Version: answer.ResourceVersion, Until: inject.Until}
}

// body is a target with nothing but its caBundles. The UID keeps the apply from making a target that is gone.
func (r *Reconciler) body(o observed, slots []Slot) ([]byte, error) {
	obj := r.Kind.fields(slots)
	obj["apiVersion"], obj["kind"] = r.Kind.GroupVersion().String(), r.Kind.Kind
	obj["metadata"] = map[string]any{"name": o.Target.Name, "uid": o.Target.UID, "resourceVersion": o.Target.ResourceVersion}
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s: %w", r.Kind.Kind, o.Target.Name, err)
	}
	return body, nil
}
