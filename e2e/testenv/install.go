package testenv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
)

const (
	// DaemonNamespace and DaemonName name the ServiceAccount that deploy/ makes.
	DaemonNamespace = "cert-manager"
	DaemonName      = "trustglass"
)

// Scheme knows the core kinds and those the daemon serves.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(cmapi.AddToScheme(s))
	utilruntime.Must(trustapi.AddToScheme(s))
	return s
}

// Manifests renders deploy/ as `kubectl apply -k deploy/` would, in the order in which it can be applied.
func Manifests() ([]*unstructured.Unstructured, error) {
	opts := krusty.MakeDefaultOptions()
	opts.Reorder = krusty.ReorderOptionLegacy // namespaces and CRDs before what lives in them
	rendered, err := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), filepath.Join(root(), "deploy"))
	if err != nil {
		return nil, fmt.Errorf("rendering deploy/: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range rendered.Resources() {
		raw, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w", r.CurId(), err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", r.CurId(), err)
		}
		objects = append(objects, u)
	}
	return objects, nil
}

// Install applies deploy/ without its Deployment, since the daemon runs as a process beside the control plane and not as a pod, and
// without the webhook configurations, which refuse everything while no daemon runs; see InstallWebhooks.
func Install(ctx context.Context, admin *rest.Config) error {
	return install(ctx, admin, func(u *unstructured.Unstructured) bool {
		return u.GetKind() != "Deployment" && !strings.HasSuffix(u.GetKind(), "WebhookConfiguration")
	})
}

// InstallWebhooks applies the webhook configurations of deploy/. A daemon that was told its URL makes them call it.
func InstallWebhooks(ctx context.Context, admin *rest.Config) error {
	return install(ctx, admin, func(u *unstructured.Unstructured) bool { return strings.HasSuffix(u.GetKind(), "WebhookConfiguration") })
}

// RemoveWebhooks deletes the webhook configurations of deploy/: without a daemon they would refuse everything.
func RemoveWebhooks(ctx context.Context, admin *rest.Config) error {
	c, err := client.New(admin, client.Options{Scheme: Scheme()})
	if err != nil {
		return fmt.Errorf("building an admin client: %w", err)
	}
	objects, err := Manifests()
	if err != nil {
		return err
	}
	var errs []error
	for _, u := range objects {
		if strings.HasSuffix(u.GetKind(), "WebhookConfiguration") {
			errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, u)))
		}
	}
	return errors.Join(errs...)
}

// InstallAll applies all of deploy/.
func InstallAll(ctx context.Context, admin *rest.Config) error {
	return install(ctx, admin, func(*unstructured.Unstructured) bool { return true })
}

func install(ctx context.Context, admin *rest.Config, wanted func(*unstructured.Unstructured) bool) error {
	objects, err := Manifests()
	if err != nil {
		return err
	}
	c, err := client.New(admin, client.Options{Scheme: Scheme()})
	if err != nil {
		return fmt.Errorf("building an admin client: %w", err)
	}
	for _, u := range objects {
		if !wanted(u) {
			continue
		}
		err := retry.OnError(retry.DefaultBackoff, apierrors.IsInternalError, func() error {
			return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), client.FieldOwner("kubectl"), client.ForceOwnership)
		})
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return waitForCRDs(ctx, c, objects, wanted)
}

func waitForCRDs(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, wanted func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, u := range objects {
		if u.GetKind() != "CustomResourceDefinition" || !wanted(u) {
			continue
		}
		err := poll(ctx, "CustomResourceDefinition "+u.GetName()+" to be served", func() error {
			have := u.DeepCopy()
			if err := c.Get(ctx, client.ObjectKeyFromObject(u), have); err != nil {
				return err
			}
			conditions, _, err := unstructured.NestedSlice(have.Object, "status", "conditions")
			if err != nil {
				return err
			}
			for _, cond := range conditions {
				if m, ok := cond.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
					return nil
				}
			}
			return fmt.Errorf("not established")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Daemon returns a configuration that authenticates as the daemon's ServiceAccount by a token good for a day.
func Daemon(ctx context.Context, admin *rest.Config) (*rest.Config, error) {
	c, err := client.New(admin, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, fmt.Errorf("building an admin client: %w", err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: DaemonNamespace, Name: DaemonName}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 3600)}}
	if err := c.SubResource("token").Create(ctx, sa, token); err != nil {
		return nil, fmt.Errorf("requesting a token for ServiceAccount %s/%s: %w", DaemonNamespace, DaemonName, err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token.Status.Token
	config.UserAgent = "trustglass"
	config.QPS = -1
	return config, nil
}
