package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// ours are the domains of labels and annotations by which this daemon, or what reads its Secrets, knows them. A template that
// sets one would forge it.
var ours = []string{pki.Group, "trustglass.io"}

// reflecting are the domains of annotations that copy a Secret to other namespaces: emberstack's Reflector and mittwald's
// replicator, which this daemon takes the place of, and Config Syncer. On an issued Secret such an annotation is the daemon's own
// word, whoever asked for it, so that nobody who looks at the Secret can tell that its author may not read Secrets.
var reflecting = []string{"reflector.v1.k8s.emberstack.com", "replicator.v1.mittwald.de", "kubed.appscode.com"}

// parseTemplate reads a secret-template: one JSON object with annotations and labels, and nothing else. Nil when it sets none.
func parseTemplate(text string, allowReflection bool) (*cmapi.CertificateSecretTemplate, error) {
	if len(text) > maxValue {
		return nil, fmt.Errorf("%d bytes are more than the %d allowed", len(text), maxValue)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	t := &cmapi.CertificateSecretTemplate{}
	if err := d.Decode(t); err != nil {
		return nil, fmt.Errorf("parsing it as JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parsing it as JSON: there is something behind the object")
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(t.Annotations)) {
		errs = append(errs, checkKeyName("annotation", strings.ToLower(key)), checkDomain("annotation", key, allowReflection))
	}
	for _, key := range slices.Sorted(maps.Keys(t.Labels)) {
		errs = append(errs, checkKeyName("label", key), checkDomain("label", key, allowReflection))
		if msgs := validation.IsValidLabelValue(t.Labels[key]); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("label %s: %q is not a label's value: %s", key, t.Labels[key], strings.Join(msgs, ", ")))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(t.Annotations)+len(t.Labels) == 0 {
		return nil, nil
	}
	return t, nil
}

func checkKeyName(what, key string) error {
	if msgs := validation.IsQualifiedName(key); len(msgs) > 0 {
		return fmt.Errorf("%s %q: not a key: %s", what, key, strings.Join(msgs, ", "))
	}
	return nil
}

// checkDomain refuses keys that a source must not put on a Secret.
func checkDomain(what, key string, allowReflection bool) error {
	domain, _, ok := strings.Cut(strings.ToLower(key), "/")
	if !ok {
		return nil
	}
	within := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	if slices.ContainsFunc(ours, within) {
		return fmt.Errorf("%s %s is reserved", what, key)
	}
	if !allowReflection && slices.ContainsFunc(reflecting, within) {
		return fmt.Errorf("%s %s would copy the Secret to other namespaces, which takes more than the right to edit this object: "+
			"set it in spec.secretTemplate of a Certificate", what, key)
	}
	return nil
}
