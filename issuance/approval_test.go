package issuance

import (
	"context"
	"errors"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// reviewer answers access reviews, and counts them.
type reviewer struct {
	client.Client
	may   map[string]bool
	err   error
	asked int
}

func (r *reviewer) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	r.asked++
	review := obj.(*authorizationv1.SelfSubjectAccessReview)
	if a := review.Spec.ResourceAttributes; a.Group == "cert-manager.io" && a.Resource == "signers" && a.Verb == "approve" {
		review.Status.Allowed = r.may[a.Name]
	}
	return r.err
}

// For issuers of other groups our right to approve counts; an answer is good for a moment.
func TestPermits(t *testing.T) {
	api, now := &reviewer{may: map[string]bool{"stepissuers.step.sm/ns.ca": true, "stepclusterissuers.step.sm/*": true, "awspcaclusterissuers.awspca/ca": true}}, start
	approver := Approver{Enabled: true, Signers: DefaultSigners(), Rights: &Rights{Client: api, Now: func() time.Time { return now }}}
	for _, tc := range []struct {
		name, kind, group string
		want              bool
		asked             int // more than before
	}{
		{"ca", "Issuer", "", true, 0},
		{"ca", "StepIssuer", "step.sm", true, 2},
		{"ca", "StepIssuer", "step.sm", true, 0},
		{"other", "StepIssuer", "step.sm", false, 1},
		{"other", "StepClusterIssuer", "step.sm", true, 1},
		{"ca", "AWSPCAClusterIssuer", "awspca", true, 2},
	} {
		before := api.asked
		may, err := approver.permits(t.Context(), cmmeta.IssuerReference{Name: tc.name, Kind: tc.kind, Group: tc.group}, "ns")
		if may != tc.want || err != nil || api.asked-before != tc.asked {
			t.Errorf("%s %s: %t (%v) after %d questions", tc.kind, tc.name, may, err, api.asked-before)
		}
	}
	foreign := cmmeta.IssuerReference{Name: "ca", Kind: "StepIssuer", Group: "step.sm"}
	now, api.may = now.Add(rightTTL+time.Second), nil
	if may, err := approver.permits(t.Context(), foreign, "ns"); may || err != nil {
		t.Errorf("a right that was taken: %t (%v)", may, err)
	}
	now, api.err = now.Add(rightTTL+time.Second), errors.New("the connection was lost")
	if _, err := approver.permits(t.Context(), foreign, "ns"); !errors.Is(err, api.err) {
		t.Errorf("without an answer: %v", err)
	}
	approver.Enabled = false
	if may, err := approver.permits(t.Context(), foreign, "ns"); may || err != nil {
		t.Errorf("approval that is off: %t (%v)", may, err)
	}
}
