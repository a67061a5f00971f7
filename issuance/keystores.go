package issuance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Keystores is what a decision may know of a Certificate's keystores.
type Keystores struct {
	// Digest is what annKeystores says once the keystores are made as the spec and its password Secrets now want them; empty
	// where none are wanted or the Secret is not there yet.
	Digest string
	// Problem says why they can't be made; empty if they can.
	Problem string
}

// reasonKeystorePassword is cert-manager's reason of the Event on a password that is missing.
const reasonKeystorePassword = "KeystorePasswordSecretNotFound"

// errPassword says that a keystore's password can't be had until somebody changes something.
type errPassword struct{ message string }

func (e *errPassword) Error() string { return e.message }

// wantedKeystore is one keystore that a spec asks for.
type wantedKeystore struct {
	field   string // spec.keystores.FIELD
	setting string // alias or profile
	literal *string
	secret  cmmeta.SecretKeySelector
}

func wantedKeystores(spec *cmapi.CertificateSpec) []wantedKeystore {
	var out []wantedKeystore
	if spec.Keystores == nil {
		return nil
	}
	if k := spec.Keystores.JKS; k != nil && k.Create {
		out = append(out, wantedKeystore{"jks", ptr.Deref(k.Alias, pki.DefaultJKSAlias), k.Password, k.PasswordSecretRef})
	}
	if k := spec.Keystores.PKCS12; k != nil && k.Create {
		out = append(out, wantedKeystore{"pkcs12", string(k.Profile), k.Password, k.PasswordSecretRef})
	}
	return out
}

// passwordSecrets returns the names of the Secrets that hold the passwords of a Certificate's keystores.
func passwordSecrets(spec *cmapi.CertificateSpec) []string {
	var out []string
	for _, k := range wantedKeystores(spec) {
		if k.literal == nil && k.secret.Name != "" {
			out = append(out, k.secret.Name)
		}
	}
	return out
}

// observeKeystores finds out what the keystores ought to be.
func (r *Certificates) observeKeystores(ctx context.Context, s *observed) error {
	var settings string
	for _, k := range wantedKeystores(&s.Cert.Spec) {
		hash, err := r.passwordHash(ctx, s.Cert.Namespace, k)
		if problem, ok := err.(*errPassword); ok {
			s.Keystores.Problem = problem.message
			return nil
		}
		if err != nil {
			return err
		}
		settings += k.settings(hash)
	}
	if settings != "" && s.Secret != nil {
		s.Keystores.Digest = keystoreDigest(s.Secret.KeystoreKey, settings)
	}
	return nil
}

// keystoreDigest binds settings and passwords to a private key: without that key nobody can try passwords on the digest.
func keystoreDigest(key [sha256.Size]byte, settings string) string {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(settings))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// keystoreKey derives the key of keystoreDigest from a Secret's private key.
func keystoreKey(keyPEM []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, keyPEM)
	mac.Write([]byte("trustglass keystores"))
	return [sha256.Size]byte(mac.Sum(nil))
}

func (r *Certificates) passwordHash(ctx context.Context, namespace string, k wantedKeystore) ([sha256.Size]byte, error) {
	if k.literal != nil {
		return sha256.Sum256([]byte(*k.literal)), nil
	}
	key := keyOf(namespace, k.secret.Name)
	hash, err := r.Secrets.EntryHash(ctx, key, k.entry())
	if err != nil {
		return hash, err
	}
	if hash == (sha256.Sum256(nil)) {
		return hash, k.missing(key)
	}
	return hash, nil
}

// settings is what keystoreDigest takes of one keystore, given its password's hash.
func (k wantedKeystore) settings(password [sha256.Size]byte) string {
	return fmt.Sprintf("%s %q %x\n", k.field, k.setting, password)
}

func (k wantedKeystore) entry() string {
	if k.secret.Key == "" {
		return cmapi.KeystorePassword
	}
	return k.secret.Key
}

func (k wantedKeystore) missing(key types.NamespacedName) *errPassword {
	return &errPassword{fmt.Sprintf("spec.keystores.%s.passwordSecretRef: Secret %s with a password under %q does not exist: create it", k.field, key, k.entry())}
}

// password reads the password of one keystore live.
func (r *Certificates) password(ctx context.Context, namespace string, k wantedKeystore) (string, error) {
	if k.literal != nil {
		return *k.literal, nil
	}
	key := keyOf(namespace, k.secret.Name)
	data, err := r.Secrets.Payload(ctx, key)
	if apierrors.IsNotFound(err) || err == nil && len(data[k.entry()]) == 0 {
		return "", k.missing(key)
	}
	return string(data[k.entry()]), err
}

// addKeystores makes the keystores that a spec asks for from the key pair in m.
func (r *Certificates) addKeystores(ctx context.Context, cert *cmapi.Certificate, m *material, now time.Time) error {
	var settings string
	for _, k := range wantedKeystores(&cert.Spec) {
		password, err := r.password(ctx, cert.Namespace, k)
		if err != nil {
			return err
		}
		var store, trust []byte
		names := [2]string{cmapi.JKSSecretKey, cmapi.JKSTruststoreKey}
		if k.field == "jks" {
			store, trust, err = pki.JKS(m.key, m.chain, m.ca, k.setting, password, now)
		} else {
			names = [2]string{cmapi.PKCS12SecretKey, cmapi.PKCS12TruststoreKey}
			store, trust, err = pki.PKCS12(m.key, m.chain, m.ca, cmapi.PKCS12Profile(k.setting), password)
		}
		if err != nil {
			return fmt.Errorf("making the keystore of spec.keystores.%s: %w", k.field, err)
		}
		if m.keystores == nil {
			m.keystores = map[string][]byte{}
		}
		if m.keystores[names[0]] = store; trust != nil {
			m.keystores[names[1]] = trust
		}
		settings += k.settings(sha256.Sum256([]byte(password)))
	}
	if settings != "" {
		m.keystoreDigest = keystoreDigest(keystoreKey(m.key), settings)
	}
	return nil
}
