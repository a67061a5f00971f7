package signingrequest

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apply writes how a request ended, at the version that the decision saw. It is the only write of this package.
func apply(ctx context.Context, c client.Client, req *certificatesv1.CertificateSigningRequest, d Decision, manager string, now time.Time) error {
	next := req.DeepCopy()
	switch d := d.(type) {
	case Issue:
		next.Status.Certificate = d.Chain
	case Fail:
		at := metav1.NewTime(now.Truncate(time.Second))
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: d.Reason, Message: d.Message,
			LastUpdateTime: at, LastTransitionTime: at,
		})
	default:
		return nil
	}
	if err := c.Status().Update(ctx, next, client.FieldOwner(manager)); err != nil {
		return fmt.Errorf("updating the status of CertificateSigningRequest %s: %w", req.Name, err)
	}
	return nil
}
