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

	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
	s := &Server{pending: semaphore.NewWeighted(maxPendingBytes)}
	handler := s.review(PathValidate, func(context.Context, *admissionv1.AdmissionRequest) (verdict, error) { return verdict{}, nil })
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

// The budget for bodies is given back: twenty large ones one after the other are read.
func TestBudgetIsGivenBack(t *testing.T) {
	s := &Server{pending: semaphore.NewWeighted(maxPendingBytes)}
	for range 20 {
		req := httptest.NewRequest("POST", PathValidate, bytes.NewReader(make([]byte, MaxBodyBytes)))
		req.Header.Set("Content-Type", "application/json")
		if _, code, err := s.read(t.Context(), httptest.NewRecorder(), req); code != http.StatusBadRequest {
			t.Fatal(code, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.pending.Acquire(t.Context(), maxPendingBytes); err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest("POST", PathValidate, strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	if _, code, _ := s.read(ctx, httptest.NewRecorder(), req); code != http.StatusServiceUnavailable {
		t.Errorf("with nothing left of it: %d", code)
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
	s := &Server{pending: semaphore.NewWeighted(maxPendingBytes)}
	handler := s.review(PathValidate, func(context.Context, *admissionv1.AdmissionRequest) (verdict, error) { panic("secret") })
	req := httptest.NewRequest("POST", PathValidate, bytes.NewReader(reviewOf(t, &admissionv1.AdmissionRequest{UID: "1"})))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	handler(rec, req)
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Response.Allowed || got.Response.Result.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("%v %s", err, rec.Body)
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
