package e2e

import (
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// The shipped roles add themselves to the cluster's own: who may view or edit a namespace may view or edit what is ours in it.
func TestAggregatedRoles(t *testing.T) {
	namespace(t, "roles", nil)
	for _, role := range []string{"view", "edit"} {
		create(t, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "roles", Name: role}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: role + "er"}},
		})
	}
	for _, tc := range []struct {
		user, verb, group, resource string
		want                        bool
	}{
		{"viewer", "list", "cert-manager.io", "certificates", true},
		{"viewer", "get", "acme.cert-manager.io", "orders", true},
		{"viewer", "create", "cert-manager.io", "certificates", false},
		{"viewer", "get", "cert-manager.io", "clusterissuers", false},
		{"editer", "create", "cert-manager.io", "certificates", true},
		{"editer", "delete", "cert-manager.io", "issuers", true},
		{"editer", "delete", "acme.cert-manager.io", "orders", true},
		{"editer", "create", "acme.cert-manager.io", "orders", false},
		{"editer", "create", "acme.cert-manager.io", "challenges", false},
		{"editer", "approve", "cert-manager.io", "signers", false},
	} {
		testenv.Eventually(t, fmt.Sprintf("%s to %s %s: %t", tc.user, tc.verb, tc.resource, tc.want), func() error {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: tc.user, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "roles", Verb: tc.verb, Group: tc.group, Resource: tc.resource},
			}}
			if err := testenv.Admin().Create(ctx, review); err != nil {
				return err
			}
			if review.Status.Allowed != tc.want {
				return fmt.Errorf("allowed %t", review.Status.Allowed)
			}
			return nil
		})
	}
}
