package webhook

import (
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/validation"
)

// verdict is the answer to one request: what is wrong (nothing: it is allowed), what its maker is warned of, and how it is changed.
type verdict struct {
	problems field.ErrorList
	warnings []string
	patch    []patchOp
	// judged is the approval or denial that still has to be permitted.
	judged *approval
}

// mutate stamps new requests; everything else stays as it is.
func mutate(req *admissionv1.AdmissionRequest) (v verdict, err error) {
	if resourceOf(req) != "certificaterequests.cert-manager.io" || req.SubResource != "" || req.Operation != admissionv1.Create {
		return v, nil
	}
	r, err := decode[cmapi.CertificateRequest](req.Object)
	if err != nil {
		return v, err
	}
	v.patch = stamp(&r.Spec, &req.UserInfo)
	return v, nil
}

// validate refuses what can't work or must not be. What it does not know it allows: the configuration decides what it is asked.
func validate(req *admissionv1.AdmissionRequest) (verdict, error) {
	if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update {
		return verdict{}, nil
	}
	switch resourceOf(req) {
	case "certificates.cert-manager.io":
		return validateSpec(req, func(c *cmapi.Certificate) any { return &c.Spec }, func(c *cmapi.Certificate) (field.ErrorList, []string) {
			return validation.Certificate(c), nil
		})
	case "issuers.cert-manager.io":
		return validateSpec(req, func(i *cmapi.Issuer) any { return &i.Spec }, func(i *cmapi.Issuer) (field.ErrorList, []string) {
			return validation.Issuer(&i.Spec, field.NewPath("spec"))
		})
	case "clusterissuers.cert-manager.io":
		return validateSpec(req, func(i *cmapi.ClusterIssuer) any { return &i.Spec }, func(i *cmapi.ClusterIssuer) (field.ErrorList, []string) {
			return validation.Issuer(&i.Spec, field.NewPath("spec"))
		})
	case "certificaterequests.cert-manager.io":
		return validateRequest(req)
	case "orders.acme.cert-manager.io":
		return validateChange(req, validation.OrderUpdate)
	case "challenges.acme.cert-manager.io":
		return validateChange(req, validation.ChallengeUpdate)
	}
	return verdict{}, nil
}

func resourceOf(req *admissionv1.AdmissionRequest) string {
	return req.Resource.Resource + "." + req.Resource.Group
}

// validateSpec checks an object whose spec is new. One that was stored with the same spec, by whatever rules held then, may be
// labelled, finalized and deleted.
func validateSpec[T any](req *admissionv1.AdmissionRequest, spec func(*T) any, check func(*T) (field.ErrorList, []string)) (v verdict, err error) {
	if req.SubResource != "" {
		return v, nil
	}
	obj, err := decode[T](req.Object)
	if err != nil {
		return v, err
	}
	if req.Operation == admissionv1.Update {
		old, err := decode[T](req.OldObject)
		if err != nil {
			return v, err
		}
		if equality.Semantic.DeepEqual(spec(old), spec(obj)) {
			return v, nil
		}
	}
	v.problems, v.warnings = check(obj)
	return v, nil
}

// validateChange checks an update against what was there.
func validateChange[T any](req *admissionv1.AdmissionRequest, check func(old, new *T) field.ErrorList) (v verdict, err error) {
	if req.Operation != admissionv1.Update {
		return v, nil
	}
	old, err := decode[T](req.OldObject)
	if err != nil {
		return v, err
	}
	obj, err := decode[T](req.Object)
	if err != nil {
		return v, err
	}
	v.problems = check(old, obj)
	return v, nil
}

func validateRequest(req *admissionv1.AdmissionRequest) (v verdict, err error) {
	switch {
	case req.Operation == admissionv1.Create && req.SubResource == "":
		r, err := decode[cmapi.CertificateRequest](req.Object)
		if err != nil {
			return v, err
		}
		v.problems = append(validation.CertificateRequest(r), foreignIdentity(&r.Spec, &req.UserInfo)...)
		return v, nil
	case req.Operation == admissionv1.Update && req.SubResource == "":
		return validateChange(req, validation.CertificateRequestUpdate)
	case req.Operation == admissionv1.Update && req.SubResource == "status":
		var judged *approval
		v, err := validateChange(req, func(old, new *cmapi.CertificateRequest) field.ErrorList {
			if validation.Judged(old, new) {
				judged = &approval{issuer: new.Spec.IssuerRef, namespace: new.Namespace}
			}
			return validation.CertificateRequestStatusUpdate(old, new)
		})
		if len(v.problems) == 0 {
			v.judged = judged
		}
		return v, err
	}
	return v, nil
}

// decode reads an object as the API server does: keys in their exact case.
func decode[T any](raw runtime.RawExtension) (*T, error) {
	obj := new(T)
	if err := json.Unmarshal(raw.Raw, obj); err != nil {
		return nil, fmt.Errorf("decoding %T: %w", obj, err)
	}
	return obj, nil
}
