package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// approvals answers whether a user may approve or deny requests to an issuer: the verb approve on the signers named after it.
type approvals struct {
	client client.Client
	// mapper returns what tells a kind's plural and scope, without memory of what it has told before.
	mapper func() (meta.RESTMapper, error)
	// patience is how long a kind is looked for.
	patience time.Duration
	kinds    memo[schema.GroupKind, signerKind]
	answers  memo[string, bool]
}

// signerKind is how a kind of issuer is called in a signer's name.
type signerKind struct {
	plural     string // empty: there is no such kind
	namespaced bool
}

// check returns what is wrong with a user's verdict on a request; an error is the API server's.
func (a *approvals) check(ctx context.Context, user *authenticationv1.UserInfo, r *cmapi.CertificateRequest) (*field.Error, error) {
	ref := pki.WithDefaults(r.Spec.IssuerRef)
	kind, err := a.kindOf(ctx, schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
	if err != nil {
		return nil, err
	}
	if kind.plural == "" {
		return field.Forbidden(field.NewPath("spec", "issuerRef"), fmt.Sprintf("referenced signer resource does not exist: %v", r.Spec.IssuerRef)), nil
	}
	for _, name := range signerNames(ref, kind, r.Namespace) {
		if ok, err := a.allowed(ctx, user, name); err != nil || ok {
			return nil, err
		}
	}
	return field.Forbidden(field.NewPath("status", "conditions"),
		fmt.Sprintf("user %q does not have permissions to set approved/denied conditions for issuer %v", user.Username, r.Spec.IssuerRef)), nil
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
	key, err := json.Marshal([]any{name, user})
	if err != nil {
		return false, fmt.Errorf("encoding a user's identity: %w", err)
	}
	return a.answers.get(ctx, string(key), func(ctx context.Context) (bool, time.Duration, error) {
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
	return a.kinds.get(ctx, gk, func(ctx context.Context) (signerKind, time.Duration, error) {
		until := time.Now().Add(a.patience)
		for {
			kind, err := a.find(gk)
			if !meta.IsNoMatchError(err) {
				return kind, kindTTL, err
			}
			if time.Now().After(until) {
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

func (a *approvals) find(gk schema.GroupKind) (signerKind, error) {
	mapper, err := a.mapper()
	if err != nil {
		return signerKind{}, fmt.Errorf("building a RESTMapper: %w", err)
	}
	mapping, err := mapper.RESTMapping(gk)
	if err != nil {
		if meta.IsNoMatchError(err) {
			return signerKind{}, err
		}
		return signerKind{}, fmt.Errorf("looking for the kind %s: %w", gk, err)
	}
	return signerKind{plural: mapping.Resource.Resource, namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace}, nil
}
