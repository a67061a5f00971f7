package testenv

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { Main(m) }

// The daemon's identity must be bound by the shipped roles, or no other test would notice a missing rule.
func TestDaemonIsNotAnAdmin(t *testing.T) {
	c, err := client.New(DaemonConfig(), client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	var nodes corev1.NodeList
	if err := c.List(context.Background(), &nodes); !apierrors.IsForbidden(err) {
		t.Errorf("listing nodes as the daemon: %v, want Forbidden", err)
	}
}

func TestNamespacesAreFinalized(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := Admin().Create(context.Background(), ns); err != nil {
		t.Fatal(err)
	}
	if err := Admin().Delete(context.Background(), ns); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the namespace to be gone", func() error {
		err := Admin().Get(context.Background(), client.ObjectKeyFromObject(ns), ns)
		if err == nil {
			return apierrors.NewConflict(corev1.Resource("namespaces"), ns.Name, nil)
		}
		return client.IgnoreNotFound(err)
	})
}

func TestWriteKey(t *testing.T) {
	for _, tc := range []struct{ method, path, contentType, want string }{
		{http.MethodPost, "/api/v1/namespaces/a/secrets", "", "create secrets"},
		{http.MethodPut, "/apis/cert-manager.io/v1/namespaces/a/certificates/c/status", "", "update certificates/status"},
		{http.MethodPut, "/apis/cert-manager.io/v1/clusterissuers/c/status", "", "update clusterissuers/status"},
		{http.MethodPatch, "/api/v1/namespaces/a/configmaps/c", "application/apply-patch+yaml", "apply configmaps"},
		{http.MethodPatch, "/api/v1/namespaces/a/configmaps/c", "application/json-patch+json", "patch configmaps"},
		{http.MethodDelete, "/api/v1/namespaces/a", "", "delete namespaces"},
		{http.MethodGet, "/api/v1/namespaces/a/secrets/s", "", ""},
		{http.MethodPost, "/api/v1/namespaces/a/events", "", ""},
		{http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "", ""},
	} {
		req := httptest.NewRequest(tc.method, tc.path, nil)
		req.Header.Set("Content-Type", tc.contentType)
		if got := writeKey(req); got != tc.want {
			t.Errorf("writeKey(%s %s) = %q, want %q", tc.method, tc.path, got, tc.want)
		}
	}
}
