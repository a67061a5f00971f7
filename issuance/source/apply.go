package source

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// outcome is an Action and what came of it.
type outcome struct {
	Action Action
	Err    error
}

// apply carries out a plan, each action by itself. It holds the only writes of this package.
func (r *Reconciler) apply(ctx context.Context, todo []Action) []outcome {
	done := make([]outcome, len(todo))
	for i, a := range todo {
		done[i].Action = a
		switch a := a.(type) {
		case Create:
			done[i].Err = r.create(ctx, a)
		case Update:
			done[i].Err = r.update(ctx, a)
		case Delete:
			done[i].Err = r.delete(ctx, a)
		}
	}
	return done
}

// create makes a Certificate. One that has appeared meanwhile stays as it is.
func (r *Reconciler) create(ctx context.Context, a Create) error {
	c := a.Certificate.DeepCopy()
	if err := r.Client.Create(ctx, c, r.fieldOwner()); err != nil {
		return fmt.Errorf("creating Certificate %s: %w", c.Name, err)
	}
	return nil
}

// update writes a Certificate at the version that was seen.
func (r *Reconciler) update(ctx context.Context, a Update) error {
	c := a.Certificate.DeepCopy()
	if err := r.Client.Update(ctx, c, r.fieldOwner()); err != nil {
		return fmt.Errorf("updating Certificate %s: %w", c.Name, err)
	}
	if m, changed := merge(c, a.Certificate, nil, func(...string) bool { return false }); m != nil {
		return fmt.Errorf("updating Certificate %s: the API server keeps something else in %s: an admission webhook or an old CRD changes it", c.Name, strings.Join(changed, ", "))
	}
	return nil
}

// delete removes exactly the Certificate that was seen.
func (r *Reconciler) delete(ctx context.Context, a Delete) error {
	uid, version := a.Certificate.GetUID(), a.Certificate.GetResourceVersion()
	err := r.Client.Delete(ctx, a.Certificate.DeepCopy(), client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Certificate %s: %w", a.Certificate.Name, err)
	}
	return nil
}

func (r *Reconciler) fieldOwner() client.FieldOwner {
	return client.FieldOwner(FieldManager(kinds[r.Kind].controller))
}

// outdated tells whether a write failed because what it was decided on has changed: then it is decided anew.
func outdated(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// terminal tells whether the same write will fail again, until somebody changes the source or its namespace is gone.
func terminal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
