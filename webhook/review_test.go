package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func reviewOf(t testing.TB, req *admissionv1.AdmissionRequest) []byte {
	t.Helper()
	raw, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: req})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReviewIsRead(t *testing.T) {
	s := newReviewer(nil)
	handler := s.review(PathValidate, func(*admissionv1.AdmissionRequest) (verdict, error) { return verdict{}, nil })
	good := reviewOf(t, &admissionv1.AdmissionRequest{UID: "1"})
	for _, tc := range []struct {
		reason, method, contentType string
		body                        io.Reader
		want                        int
	}{
		{"a review", "POST", "application/json", bytes.NewReader(good), http.StatusOK},
		{"a review with parameters", "POST", "application/json; charset=utf-8", bytes.NewReader(good), http.StatusOK},
		{"a visit", "GET", "application/json", nil, http.StatusMethodNotAllowed},
		{"another type", "POST", "text/plain", bytes.NewReader(good), http.StatusUnsupportedMediaType},
		{"no JSON", "POST", "application/json", strings.NewReader("{"), http.StatusBadRequest},
		{"nothing", "POST", "application/json", strings.NewReader(""), http.StatusBadRequest},
		{"no request", "POST", "application/json", strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), http.StatusBadRequest},
		{"another version", "POST", "application/json", strings.NewReader(`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}`), http.StatusBadRequest},
		{"too much, announced", "POST", "application/json", bytes.NewReader(make([]byte, MaxBodyBytes+1)), http.StatusRequestEntityTooLarge},
		{"too much, unannounced", "POST", "application/json", io.LimitReader(spaces{}, MaxBodyBytes+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			req := httptest.NewRequest(tc.method, PathValidate, tc.body)
			req.Header.Set("Content-Type", tc.contentType)
			rec := httptest.NewRecorder()
			handler(rec, req)
			if rec.Code != tc.want {
				t.Errorf("answered %d %s", rec.Code, rec.Body)
			}
		})
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// newReviewer returns as much of a server as reviews need.
func newReviewer(c client.Client) *Server {
	return &Server{approvals: newApprovals(c, nil), asking: make(chan struct{}, 1), bodies: newIntake(maxPendingBytes, time.Minute)}
}

// post has a handler answer a review.
func post(t testing.TB, handler http.HandlerFunc, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	req := httptest.NewRequest("POST", PathValidate, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	handler(rec, req)
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return got.Response
}

// A body's room is kept as long as its objects are, and is given back before a question whose answer takes its time.
func TestRoomIsKept(t *testing.T) {
	large := cmapi.CertificateRequest{}
	large.Spec.IssuerRef.Name = "ca"
	large.Annotations = map[string]string{"a": strings.Repeat("a", bodyStep)}
	var s *Server
	free := func() bool {
		ok := s.bodies.budget.TryAcquire(maxPendingBytes)
		if ok {
			s.bodies.budget.Release(maxPendingBytes)
		}
		return ok
	}
	asked := 0
	s = newReviewer(&asker{answer: func(context.Context, *authorizationv1.SubjectAccessReview) (bool, error) {
		if asked++; !free() {
			t.Error("while the API server is asked, room is kept")
		}
		return true, nil
	}})
	handler := s.review(PathValidate, func(req *admissionv1.AdmissionRequest) (verdict, error) {
		if free() {
			t.Error("while a request is judged, its room is not kept")
		}
		return validate(req)
	})
	large.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: "Approved", Status: "True"}}
	old := large.DeepCopy()
	old.Status.Conditions = nil
	if resp := post(t, handler, reviewOf(t, request(t, "UPDATE", "certificaterequests/status", old, large))); !resp.Allowed || asked != 1 {
		t.Errorf("asked %d times: %+v", asked, resp.Result)
	}
	if resp := post(t, handler, reviewOf(t, request(t, "CREATE", "certificaterequests", nil, large))); resp.Allowed {
		t.Error("a bad request is allowed")
	}
	if !free() {
		t.Error("in the end, room is kept")
	}
}

// Who is asked about is bounded in size and number.
func TestWhoIsAskedAbout(t *testing.T) {
	asked := 0
	s := newReviewer(&asker{answer: func(context.Context, *authorizationv1.SubjectAccessReview) (bool, error) { asked++; return true, nil }})
	handler := s.review(PathValidate, validate)
	r := cmapi.CertificateRequest{}
	r.Spec.IssuerRef.Name = "ca"
	r.Annotations = map[string]string{"a": strings.Repeat("a", maxAskingBytes)}
	approved := r.DeepCopy()
	approved.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: "Approved", Status: "True"}}
	verdict := func(groups ...string) *admissionv1.AdmissionResponse {
		req := request(t, "UPDATE", "certificaterequests/status", r, approved)
		req.UserInfo.Groups = groups
		return post(t, handler, reviewOf(t, req))
	}
	const share = maxAskingBytes / 2
	if resp := verdict(strings.Repeat("a", share)); !resp.Allowed || asked != 1 {
		t.Errorf("with many groups: asked %d times, %+v", asked, resp.Result)
	}
	if resp := verdict(strings.Repeat("a", share), strings.Repeat("b", share)); resp.Allowed || asked != 1 || !strings.HasPrefix(resp.Result.Message, "status.conditions: Forbidden: who sets a condition is described by") {
		t.Errorf("with too many groups: asked %d times, %+v", asked, resp.Result)
	}
	s.asking <- struct{}{}
	if resp := verdict("c"); resp.Allowed || asked != 1 || resp.Result.Message != errBusy.Error() || resp.Result.Code != http.StatusInternalServerError {
		t.Errorf("one more than may ask at a time: asked %d times, %+v", asked, resp.Result)
	}
	<-s.asking
	if resp := verdict("c"); !resp.Allowed || asked != 2 {
		t.Errorf("after it: asked %d times, %+v", asked, resp.Result)
	}
}

func TestAnswer(t *testing.T) {
	req := &admissionv1.AdmissionRequest{UID: types.UID("1"), Name: "web", Kind: metav1.GroupVersionKind{Group: "cert-manager.io", Kind: "Certificate"}}
	denied := answer(req, verdict{problems: field.ErrorList{field.Required(field.NewPath("spec", "secretName"), "why")}}, nil)
	if denied.Allowed || denied.UID != "1" || denied.Result.Code != http.StatusForbidden || denied.Result.Message != "spec.secretName: Required value: why" ||
		len(denied.Result.Details.Causes) != 1 || denied.Result.Details.Causes[0].Field != "spec.secretName" {
		t.Errorf("a refusal: %+v", denied.Result)
	}
	if failed := answer(req, verdict{}, errors.New("why")); failed.Allowed || failed.Result.Code != http.StatusInternalServerError || failed.Result.Message != "why" {
		t.Errorf("a failure: %+v", failed.Result)
	}
	patched := answer(req, verdict{patch: []patchOp{{Op: "remove", Path: "/a"}}, warnings: []string{"w"}}, nil)
	if !patched.Allowed || string(patched.Patch) != `[{"op":"remove","path":"/a"}]` || len(patched.Warnings) != 1 {
		t.Errorf("a patch: %+v", patched)
	}
}

// A panic concerns one object: its maker is told no, and the server goes on.
func TestPanic(t *testing.T) {
	handler := newReviewer(nil).review(PathValidate, func(*admissionv1.AdmissionRequest) (verdict, error) { panic("secret") })
	got := post(t, handler, reviewOf(t, &admissionv1.AdmissionRequest{UID: "1"}))
	if got.Allowed || got.Result.Code != http.StatusInternalServerError || got.Result.Message != "the webhook could not cope with this object; its log says more" {
		t.Errorf("%+v", got.Result)
	}
}

// Whatever arrives is answered without a panic, and what is patched is a request.
func FuzzReview(f *testing.F) {
	f.Add(reviewOf(f, request(f, "CREATE", "certificaterequests", nil, cmapi.CertificateRequest{})))
	f.Add(reviewOf(f, request(f, "UPDATE", "certificaterequests/status", cmapi.CertificateRequest{}, cmapi.CertificateRequest{})))
	f.Add(reviewOf(f, request(f, "CREATE", "certificates", nil, cmapi.Certificate{})))
	f.Add(reviewOf(f, request(f, "UPDATE", "issuers", cmapi.Issuer{}, cmapi.Issuer{})))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"object":null,"operation":"CREATE"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		review, err := parseReview(body)
		if err != nil {
			return
		}
		for _, decide := range []func(*admissionv1.AdmissionRequest) (verdict, error){mutate, validate} {
			v, err := decide(review.Request)
			if resp := answer(review.Request, v, err); resp.Allowed == (resp.Result != nil) {
				t.Fatal("neither allowed nor refused")
			}
		}
	})
}
