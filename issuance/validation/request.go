package validation

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

var (
	metadataPath = field.NewPath("metadata")
	statusPath   = field.NewPath("status")
)

// CertificateRequest tells why no issuer could sign a request: it names none, its CSR does not decode or is not signed with its own
// key, or says something else than the spec beside it.
func CertificateRequest(r *cmapi.CertificateRequest) field.ErrorList {
	f := findings{base: specPath}
	f.issuerRef(&r.Spec.IssuerRef)
	f.usages(r.Spec.Usages)
	if d := r.Spec.Duration; d != nil && d.Duration <= 0 {
		f.invalid(d.Duration.String(), "must be more than 0", "duration")
	}
	if len(r.Spec.Request) == 0 {
		f.required("must be a PEM certificate signing request", "request")
		return f.list
	}
	csr, err := pki.ParseRequest(r.Spec.Request)
	if err != nil {
		f.wrong(quotable(err.Error()), "request")
	}
	if len(f.list) > 0 {
		return f.list
	}
	if _, err := pki.NewTemplate(csr, &r.Spec, time.Time{}); err != nil {
		f.wrong(reasonOf(err), "request")
	}
	return f.list
}

// CertificateRequestUpdate tells what a change of a request may not touch: its spec, which others have approved or signed, and the
// annotations by which the daemon knows it.
func CertificateRequestUpdate(old, new *cmapi.CertificateRequest) field.ErrorList {
	f := findings{}
	if !equality.Semantic.DeepEqual(&old.Spec, &new.Spec) {
		f.base = specPath
		f.forbidden("a request can't be changed: create another one")
	}
	f.base = metadataPath
	for _, key := range changedKeys(old.Annotations, new.Annotations) {
		if strings.HasPrefix(key, pki.Group+"/") || strings.HasPrefix(key, cmacme.SchemeGroupVersion.Group+"/") {
			f.forbidden("can't be added, changed or removed after the request was created", "annotations", mapKey(key))
		}
	}
	return f.list
}

// changedKeys returns the keys whose value differs between two maps, sorted.
func changedKeys(old, new map[string]string) []string {
	if maps.Equal(old, new) {
		return nil
	}
	var out []string
	for k, v := range old {
		if w, ok := new[k]; !ok || v != w {
			out = append(out, k)
		}
	}
	for k := range new {
		if _, ok := old[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// verdicts are the conditions by which a request is decided on.
var verdicts = []cmapi.CertificateRequestConditionType{cmapi.CertificateRequestConditionApproved, cmapi.CertificateRequestConditionDenied}

// CertificateRequestStatusUpdate tells what a change of a request's status may not do with the verdict on it: give two, give one
// that is not True, or take back or reword one that was given.
func CertificateRequestStatusUpdate(old, new *cmapi.CertificateRequest) field.ErrorList {
	f := findings{base: statusPath}
	given := 0
	for _, verdict := range verdicts {
		was, is := conditionsOf(old, verdict), conditionsOf(new, verdict)
		if len(is) > 1 {
			f.forbidden("there can be one condition "+string(verdict)+" at most", "conditions")
		}
		if len(is) > 0 {
			given++
			if is[0].Status != cmmeta.ConditionTrue {
				f.invalid(string(is[0].Status), "the status of condition "+string(verdict)+" must be True", "conditions")
			}
		}
		if len(was) > 0 && (len(is) == 0 || !equality.Semantic.DeepEqual(was[0], is[0])) {
			f.forbidden("condition "+string(verdict)+" can't be changed or removed once it is set", "conditions")
		}
	}
	if given > 1 {
		f.forbidden("a request can't be both Approved and Denied", "conditions")
	}
	return f.list
}

// Judged tells whether a change of a request's status gives a verdict that was not there before.
func Judged(old, new *cmapi.CertificateRequest) bool {
	for _, verdict := range verdicts {
		if len(conditionsOf(old, verdict)) == 0 && len(conditionsOf(new, verdict)) > 0 {
			return true
		}
	}
	return false
}

func conditionsOf(r *cmapi.CertificateRequest, t cmapi.CertificateRequestConditionType) []cmapi.CertificateRequestCondition {
	var out []cmapi.CertificateRequestCondition
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			out = append(out, r.Status.Conditions[i])
		}
	}
	return out
}

// OrderUpdate tells what a change of an ACME Order may not touch: its CSR, and what the server has answered.
func OrderUpdate(old, new *cmacme.Order) field.ErrorList {
	f := findings{base: specPath}
	if !slices.Equal(old.Spec.Request, new.Spec.Request) {
		f.forbidden("the CSR of an Order can't be changed", "request")
	}
	f.base = statusPath
	once := func(name string, wasSet, same bool) {
		if wasSet && !same {
			f.forbidden("can't be changed once it is set", name)
		}
	}
	was, is := &old.Status, &new.Status
	once("url", was.URL != "", was.URL == is.URL)
	once("finalizeURL", was.FinalizeURL != "", was.FinalizeURL == is.FinalizeURL)
	once("certificate", len(was.Certificate) > 0, slices.Equal(was.Certificate, is.Certificate))
	once("authorizations", len(was.Authorizations) > 0, equality.Semantic.DeepEqual(was.Authorizations, is.Authorizations))
	return f.list
}

// ChallengeUpdate tells that the spec of an ACME Challenge can't be changed.
func ChallengeUpdate(old, new *cmacme.Challenge) field.ErrorList {
	f := findings{base: specPath}
	if !equality.Semantic.DeepEqual(&old.Spec, &new.Spec) {
		f.forbidden("a Challenge can't be changed")
	}
	return f.list
}
