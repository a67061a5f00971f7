package webhook

import (
	"maps"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// patchOp is one operation of a JSON patch (RFC 6902).
type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// stamp returns the patch that makes a new request say who made it, whatever it says itself.
func stamp(spec *cmapi.CertificateRequestSpec, user *authenticationv1.UserInfo) []patchOp {
	var patch []patchOp
	set := func(path string, same, empty bool, value any) {
		switch {
		case same:
		case empty:
			patch = append(patch, patchOp{Op: "remove", Path: path})
		default:
			patch = append(patch, patchOp{Op: "add", Path: path, Value: value})
		}
	}
	extra := extraOf(user)
	set("/spec/username", spec.Username == user.Username, user.Username == "", user.Username)
	set("/spec/uid", spec.UID == user.UID, user.UID == "", user.UID)
	set("/spec/groups", slices.Equal(spec.Groups, user.Groups), len(user.Groups) == 0, user.Groups)
	set("/spec/extra", sameExtra(spec.Extra, extra), len(extra) == 0, extra)
	return patch
}

func extraOf(user *authenticationv1.UserInfo) map[string][]string {
	out := map[string][]string{}
	for k, v := range user.Extra {
		out[k] = v
	}
	return out
}

func sameExtra(a, b map[string][]string) bool {
	return maps.EqualFunc(a, b, func(x, y []string) bool { return slices.Equal(x, y) })
}

// foreignIdentity tells where a new request says that somebody else made it. After stamp it can't, unless another webhook, or the
// absence of ours among those that mutate, has left something else there.
func foreignIdentity(spec *cmapi.CertificateRequestSpec, user *authenticationv1.UserInfo) field.ErrorList {
	var list field.ErrorList
	path := field.NewPath("spec")
	forbid := func(name string, same bool) {
		if !same {
			list = append(list, field.Forbidden(path.Child(name), "must be that of the user who creates the request"))
		}
	}
	forbid("username", spec.Username == user.Username)
	forbid("uid", spec.UID == user.UID)
	forbid("groups", slices.Equal(slices.Sorted(slices.Values(spec.Groups)), slices.Sorted(slices.Values(user.Groups))))
	forbid("extra", sameExtra(spec.Extra, extraOf(user)))
	return list
}
