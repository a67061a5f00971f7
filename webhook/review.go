package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Paths are the incumbent's, so that configurations made for it work.
const (
	PathMutate   = "/mutate"
	PathValidate = "/validate"
)

const (
	// answerTimeout bounds the work on one request. The API server waits ten seconds.
	answerTimeout = 9 * time.Second
	// maxAsking is how many requests may wait at a time for what the API server says of their users: more than it judges at a time.
	maxAsking = 256
	// maxAskingBytes is the largest of them, objects apart: far more than a user with its groups usually is.
	maxAskingBytes = 64 << 10
)

// judge answers one request, without asking anybody. An error is a failure of ours, not of the request.
type judge func(*admissionv1.AdmissionRequest) (verdict, error)

// review serves a judge at path.
func (s *Server) review(path string, decide judge) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		room := &share{of: s.bodies}
		defer room.release() // not earlier: what was decoded of it is as large
		review, code, err := read(ctx, w, r, room)
		if err != nil {
			count(path, "malformed", began)
			http.Error(w, err.Error(), code)
			return
		}
		v, err := safely(ctx, func() (verdict, error) { return s.judge(ctx, review.Request, decide, room) })
		review.Response = answer(review.Request, v, err)
		switch {
		case err != nil:
			count(path, "failed", began)
			log.FromContext(ctx).Error(err, "answering an admission request", "path", path, "resource", review.Request.Resource.Resource,
				"namespace", review.Request.Namespace, "name", review.Request.Name)
		case review.Response.Allowed:
			count(path, "allowed", began)
		default:
			count(path, "denied", began)
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(review); err != nil {
			log.FromContext(ctx).V(1).Info("an admission response did not reach its caller", "error", err.Error())
		}
	}
}

// judge decides on a request, and asks whether its user may decide where that is the question. Asking takes time: it is done without
// the objects and outside of the room for bodies, so that those who wait for it keep nobody from being read.
func (s *Server) judge(ctx context.Context, req *admissionv1.AdmissionRequest, decide judge, room *share) (verdict, error) {
	v, err := decide(req)
	if err != nil || v.judged == nil {
		return v, err
	}
	size, err := strip(req)
	if err != nil {
		return v, err
	}
	if size > maxAskingBytes {
		v.problems = field.ErrorList{field.Forbidden(field.NewPath("status", "conditions"),
			fmt.Sprintf("who sets a condition is described by %d bytes, more than the %d allowed", size, maxAskingBytes))}
		return v, nil
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	default:
		return v, errBusy
	}
	room.release()
	problem, err := s.approvals.check(ctx, &req.UserInfo, *v.judged)
	if problem != nil {
		v.problems = field.ErrorList{problem}
	}
	return v, err
}

// strip takes the objects off a request, and returns how large the rest is.
func strip(req *admissionv1.AdmissionRequest) (size int, err error) {
	req.Object, req.OldObject, req.Options = runtime.RawExtension{}, runtime.RawExtension{}, runtime.RawExtension{}
	rest, err := json.Marshal(req)
	if err != nil {
		return 0, fmt.Errorf("measuring a request: %w", err)
	}
	return len(rest), nil
}

// safely turns a panic into an error: it concerns one object, and the API server has to be told something.
func safely(ctx context.Context, decide func() (verdict, error)) (v verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.FromContext(ctx).Error(nil, "panic while answering an admission request", "stack", string(debug.Stack()))
			v, err = verdict{}, errors.New("the webhook could not cope with this object; its log says more")
		}
	}()
	return decide()
}

// read returns a request's review. On an error, code is what to answer.
func read(ctx context.Context, w http.ResponseWriter, r *http.Request, room *share) (_ *admissionv1.AdmissionReview, code int, err error) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("send an AdmissionReview by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, http.StatusUnsupportedMediaType, errors.New("send an AdmissionReview as application/json")
	}
	body, code, err := room.body(ctx, w, r)
	if err != nil {
		return nil, code, err
	}
	review, err := parseReview(body)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	return review, 0, nil
}

// parseReview reads an AdmissionReview of version v1 that holds a request.
func parseReview(body []byte) (*admissionv1.AdmissionReview, error) {
	review := &admissionv1.AdmissionReview{}
	if err := utiljson.Unmarshal(body, review); err != nil {
		return nil, errors.New("the body is not an AdmissionReview in JSON")
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" || review.Request == nil {
		return nil, fmt.Errorf("the body is not an AdmissionReview of %s with a request", admissionv1.SchemeGroupVersion)
	}
	review.Response = nil
	return review, nil
}

// answer encodes a verdict. A refusal is Forbidden, as the incumbent's are, and lists field and reason both in its text and, for
// programs, as causes.
func answer(req *admissionv1.AdmissionRequest, v verdict, err error) *admissionv1.AdmissionResponse {
	resp := &admissionv1.AdmissionResponse{UID: req.UID, Warnings: v.warnings}
	switch {
	case err != nil:
		resp.Result = &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError, Message: err.Error()}
	case len(v.problems) > 0:
		resp.Result = &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: v.problems.ToAggregate().Error(),
			Details: &metav1.StatusDetails{Group: req.Kind.Group, Kind: req.Kind.Kind, Name: req.Name},
		}
		for _, p := range v.problems {
			resp.Result.Details.Causes = append(resp.Result.Details.Causes, metav1.StatusCause{Type: metav1.CauseType(p.Type), Field: p.Field, Message: p.ErrorBody()})
		}
	default:
		resp.Allowed = true
		if len(v.patch) > 0 {
			patch, err := json.Marshal(v.patch)
			if err != nil { // strings, and lists and maps of them
				return answer(req, v, fmt.Errorf("encoding a patch: %w", err))
			}
			kind := admissionv1.PatchTypeJSONPatch
			resp.Patch, resp.PatchType = patch, &kind
		}
	}
	return resp
}
