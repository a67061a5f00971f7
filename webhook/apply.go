package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// applyCA carries out a step and returns the CA as it then is. Each write is made at the version that was seen: of two replicas, one
// gets a conflict and looks again.
func (k *keeper) applyCA(ctx context.Context, s *seen, what step) (_ *authority, err error) {
	if what == keep {
		return s.ca, nil
	}
	if what == refuse {
		return nil, fmt.Errorf("the Secret %s is not ours (it lacks the label %s=%s): delete it, and the daemon makes its own", k.secret, labelManagedBy, managedBy)
	}
	a := &authority{}
	if s.ca != nil {
		*a = *s.ca
	}
	switch what {
	case create, replace:
		a.next, a.held = nil, time.Time{}
		a.current, err = newCA(s.now, k.lifetimes.CA)
	case stage:
		a.held = time.Time{}
		a.next, err = newCA(s.now, k.lifetimes.CA)
	case mark:
		a.held = s.now.Truncate(time.Second) // as it is written
	case doubt:
		a.held = time.Time{}
	case promote:
		if a.current != nil {
			a.retired = append(a.retired, a.current.Certs[0])
		}
		a.current, a.next, a.held = a.next, nil, time.Time{}
	}
	if err != nil {
		return nil, err
	}
	secret, err := a.secret(k.secret, s.now)
	if err != nil {
		return nil, err
	}
	if what == create {
		err = k.client.Create(ctx, secret, client.FieldOwner(FieldManager))
	} else {
		err = k.client.Update(ctx, secret, client.FieldOwner(FieldManager))
	}
	if err != nil {
		return nil, fmt.Errorf("writing the CA's Secret %s (%s): %w", k.secret, what, err)
	}
	log.FromContext(ctx).Info("changed a server's CA", "secret", k.secret.String(), "step", what, "notAfter", a.current.Certs[0].NotAfter)
	a.version, a.uid, a.kind = secret.ResourceVersion, secret.UID, secret.Type
	return a, nil
}

// inject makes a configuration call us and trust the CA, in one write or none. On an error the configuration is taken to be as it was
// seen: if it is not, the next look tells.
func (k *keeper) inject(ctx context.Context, c *configuration, ca *authority, now time.Time) (err error) {
	trusted := ca.trusted(now)
	var bundles [][]byte
	changed, moved := false, false
	for _, w := range c.webhooks {
		bundle := mergeBundle(w.bundle, trusted, now)
		bundles = append(bundles, bundle)
		changed = changed || !bytes.Equal(bundle, w.bundle)
		moved = moved || w.target != w.url
	}
	switch {
	case moved:
		err = k.point(ctx, c, bundles)
	case changed:
		err = k.applyBundles(ctx, c, bundles)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s %s: %w", c.kind, ConfigurationName, err)
	}
	for i := range c.webhooks {
		c.webhooks[i].bundle, c.webhooks[i].url = bundles[i], c.webhooks[i].target
	}
	log.FromContext(ctx).Info("made the API server trust the webhook's CA", "kind", c.kind)
	return nil
}

// applyBundles writes every caBundle: what an apply leaves out, it gives up.
func (k *keeper) applyBundles(ctx context.Context, c *configuration, bundles [][]byte) error {
	var webhooks []any
	for i, w := range c.webhooks {
		webhooks = append(webhooks, map[string]any{
			"name": w.name, "clientConfig": map[string]any{"caBundle": base64.StdEncoding.EncodeToString(bundles[i])},
		})
	}
	u := &unstructured.Unstructured{Object: map[string]any{"webhooks": webhooks}}
	u.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind(c.kind))
	u.SetName(ConfigurationName)
	u.SetResourceVersion(c.version)
	return k.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// point makes a configuration call our URL instead of a Service. An apply could not take away the Service, which somebody else owns.
func (k *keeper) point(ctx context.Context, c *configuration, bundles [][]byte) error {
	patch := []patchOp{{Op: "replace", Path: "/metadata/resourceVersion", Value: c.version}} // another version answers with a conflict
	for i, w := range c.webhooks {
		to := fmt.Sprintf("/webhooks/%d/clientConfig/", i)
		if w.service {
			patch = append(patch, patchOp{Op: "remove", Path: to + "service"})
		}
		patch = append(patch, patchOp{Op: "add", Path: to + "url", Value: w.target}, patchOp{Op: "add", Path: to + "caBundle", Value: bundles[i]})
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind(c.kind))
	obj.SetName(ConfigurationName)
	return k.client.Patch(ctx, obj, client.RawPatch(types.JSONPatchType, raw), client.FieldOwner(FieldManager))
}
