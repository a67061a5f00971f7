package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Paths are the incumbent's, so that configurations made for it work.
const (
	PathMutate   = "/mutate"
	PathValidate = "/validate"
)

const (
	// MaxBodyBytes is the largest admission request that is read: an object and its former self, each as large as etcd takes them.
	MaxBodyBytes = 3 << 20
	// maxPendingBytes bounds the bodies that are in memory at a time.
	maxPendingBytes = 32 << 20
	// answerTimeout bounds the work on one request. The API server waits ten seconds.
	answerTimeout = 9 * time.Second
)

// judge answers one request. An error is a failure of ours or of the API server's, not of the request.
type judge func(context.Context, *admissionv1.AdmissionRequest) (verdict, error)

// review serves a judge at path.
func (s *Server) review(path string, decide judge) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		review, code, err := s.read(ctx, w, r)
		if err != nil {
			count(path, "malformed", began)
			http.Error(w, err.Error(), code)
			return
		}
		v, err := safely(ctx, review.Request, decide)
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

// safely turns a panic into an error: it concerns one object, and the API server has to be told something.
func safely(ctx context.Context, req *admissionv1.AdmissionRequest, decide judge) (v verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.FromContext(ctx).Error(nil, "panic while answering an admission request", "stack", string(debug.Stack()))
			v, err = verdict{}, errors.New("the webhook could not cope with this object; its log says more")
		}
	}()
	return decide(ctx, req)
}

// read returns a request's review. On an error, code is what to answer.
func (s *Server) read(ctx context.Context, w http.ResponseWriter, r *http.Request) (_ *admissionv1.AdmissionReview, code int, err error) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("send an AdmissionReview by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, http.StatusUnsupportedMediaType, errors.New("send an AdmissionReview as application/json")
	}
	size := r.ContentLength
	if size > MaxBodyBytes {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("%d bytes are more than the %d allowed", size, MaxBodyBytes)
	}
	if size < 0 {
		size = MaxBodyBytes
	}
	if err := s.pending.Acquire(ctx, size); err != nil {
		return nil, http.StatusServiceUnavailable, errors.New("too many requests at a time")
	}
	defer s.pending.Release(size)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than the %d bytes allowed", large.Limit)
		}
		return nil, http.StatusBadRequest, errors.New("the body could not be read")
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
