package issuance

import (
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/validation"
)

// Values of annDeletion.
const (
	deletionDelete = "Delete"
	deletionRetain = "Retain"
)

// validate tells whether a Certificate can be issued. Admission asks the same, but can be passed by. The error names every field at
// fault and what is wrong with it.
func validate(cert *cmapi.Certificate) error {
	list := validation.Certificate(cert)
	if policy, ok := cert.Annotations[annDeletion]; ok && policy != deletionDelete && policy != deletionRetain {
		list = append(list, field.NotSupported(field.NewPath("metadata", "annotations").Key(annDeletion), policy, []string{deletionDelete, deletionRetain}))
	}
	if len(list) == 0 {
		return nil
	}
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = e.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}
