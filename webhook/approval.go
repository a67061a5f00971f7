package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

const (
	answerTTL  = time.Second      // a right that is given or taken counts after this
	kindTTL    = 30 * time.Second // a kind that was found
	unknownTTL = 2 * time.Second  // a kind that was not
	// patience is how long a kind is looked for: a CustomResourceDefinition that was just created takes a moment.
	patience = time.Second
	// askTimeout bounds one question to the API server.
	askTimeout = 5 * time.Second
)

// approval is what decides, beside who gives it, whether a verdict on a request is permitted.
type approval struct {
	issuer    cmmeta.IssuerReference
	namespace string
}

// approvals answers whether a user may approve or deny requests to an issuer: the verb approve on the signers named after it.
type approvals struct {
	client client.Client
	// mapper returns what tells a kind's plural and scope. It remembers nothing from before, and asks nothing after its context.
	mapper func(context.Context) (meta.RESTMapper, error)
	// patience is how long a kind is looked for.
	patience time.Duration
	kinds    *memo[signerKind]
	answers  *memo[bool]
}

func newApprovals(c client.Client, mapper func(context.Context) (meta.RESTMapper, error)) approvals {
	return approvals{client: c, mapper: mapper, patience: patience, kinds: newMemo[signerKind](8), answers: newMemo[bool](32)}
}

// mappers returns a maker of RESTMappers whose requests end with a context: a RESTMapper itself takes none.
func mappers(config *rest.Config, httpClient *http.Client) func(context.Context) (meta.RESTMapper, error) {
	return func(ctx context.Context) (meta.RESTMapper, error) {
		bound := *httpClient
		bound.Transport = within{ctx: ctx, next: httpClient.Transport}
		return apiutil.NewDynamicRESTMapper(config, &bound)
	}
}

// within is a transport whose requests have a context, whatever theirs is.
type within struct {
	ctx  context.Context
	next http.RoundTripper // nil: the default
}

func (w within) RoundTrip(req *http.Request) (*http.Response, error) {
	next := w.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(req.WithContext(w.ctx))
}

// signerKind is how a kind of issuer is called in a signer's name.
type signerKind struct {
	plural     string // empty: there is no such kind
	namespaced bool
}

// check returns what is wrong with a user's verdict on a request; an error is the API server's.
func (a *approvals) check(ctx context.Context, user *authenticationv1.UserInfo, on approval) (*field.Error, error) {
	if problem := tooLong(on); problem != nil {
		return problem, nil
	}
	ref := pki.WithDefaults(on.issuer)
	kind, err := a.kindOf(ctx, schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
	if err != nil {
		return nil, err
	}
	if kind.plural == "" {
		return field.Forbidden(field.NewPath("spec", "issuerRef"), fmt.Sprintf("referenced signer resource does not exist: %v", on.issuer)), nil
	}
	for _, name := range signerNames(ref, kind, on.namespace) {
		if ok, err := a.allowed(ctx, user, name); err != nil || ok {
			return nil, err
		}
	}
	return field.Forbidden(field.NewPath("status", "conditions"),
		fmt.Sprintf("user %q does not have permissions to set approved/denied conditions for issuer %v", user.Username, on.issuer)), nil
}

// tooLong tells what of an approval can't be the name of anything in Kubernetes. The API server bounds none of an issuerRef's parts.
func tooLong(on approval) *field.Error {
	ref := field.NewPath("spec", "issuerRef")
	for _, part := range []struct {
		path  *field.Path
		value string
		max   int
	}{
		{ref.Child("group"), on.issuer.Group, validation.DNS1123SubdomainMaxLength},
		{ref.Child("kind"), on.issuer.Kind, validation.DNS1035LabelMaxLength},
		{ref.Child("name"), on.issuer.Name, validation.DNS1123SubdomainMaxLength},
		{field.NewPath("metadata", "namespace"), on.namespace, validation.DNS1123LabelMaxLength},
	} {
		if len(part.value) > part.max {
			return field.TooLong(part.path, "", part.max)
		}
	}
	return nil
}

// signerNames returns the names of which one has to be allowed: that of every issuer of the kind, and the issuer's own.
func signerNames(ref cmmeta.IssuerReference, kind signerKind, namespace string) []string {
	prefix := kind.plural + "." + ref.Group + "/"
	if kind.namespaced {
		return []string{prefix + "*", prefix + namespace + "." + ref.Name}
	}
	return []string{prefix + "*", prefix + ref.Name}
}

func (a *approvals) allowed(ctx context.Context, user *authenticationv1.UserInfo, name string) (bool, error) {
	k, err := keyOf(name, user)
	if err != nil {
		return false, err
	}
	return a.answers.get(ctx, k, func(ctx context.Context) (bool, time.Duration, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: pki.Group, Resource: "signers", Verb: "approve", Name: name, Version: "*"},
		}}
		for k, v := range user.Extra {
			review.Spec.Extra[k] = authorizationv1.ExtraValue(v)
		}
		if err := a.client.Create(ctx, review); err != nil {
			return false, 0, fmt.Errorf("asking whether %q may approve for signer %s: %w", user.Username, name, err)
		}
		return review.Status.Allowed, answerTTL, nil
	})
}

// kindOf looks a kind up. Our own need no looking up.
func (a *approvals) kindOf(ctx context.Context, gk schema.GroupKind) (signerKind, error) {
	switch gk {
	case schema.GroupKind{Group: pki.Group, Kind: cmapi.IssuerKind}:
		return signerKind{plural: "issuers", namespaced: true}, nil
	case schema.GroupKind{Group: pki.Group, Kind: cmapi.ClusterIssuerKind}:
		return signerKind{plural: "clusterissuers"}, nil
	}
	k, err := keyOf(gk.Group, gk.Kind)
	if err != nil {
		return signerKind{}, err
	}
	return a.kinds.get(ctx, k, func(ctx context.Context) (signerKind, time.Duration, error) {
		mapper, err := a.mapper(ctx)
		if err != nil {
			return signerKind{}, 0, fmt.Errorf("building a RESTMapper: %w", err)
		}
		until := time.Now().Add(a.patience)
		for {
			mapping, err := mapper.RESTMapping(gk) // what it does not know, it looks for anew
			switch {
			case err == nil:
				namespaced := mapping.Scope.Name() == meta.RESTScopeNameNamespace
				return signerKind{plural: mapping.Resource.Resource, namespaced: namespaced}, kindTTL, nil
			case !meta.IsNoMatchError(err):
				return signerKind{}, 0, fmt.Errorf("looking for the kind %s: %w", gk, err)
			case !time.Now().Before(until):
				return signerKind{}, unknownTTL, nil
			}
			select {
			case <-ctx.Done():
				return signerKind{}, 0, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}
