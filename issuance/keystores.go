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
	// Reason and Problem say why they can't be made; empty if they can.
	Reason, Problem string
}

// reasonKeystorePassword is cert-manager's reason of the Event on a password that is missing.
const reasonKeystorePassword = "KeystorePasswordSecretNotFound"

// reasonKeystoreUnusable is our own, of one that can't be used.
const reasonKeystoreUnusable = "KeystorePasswordUnusable"

// errPassword says that a keystore's password can't be had, or used, until somebody changes something.
type errPassword struct{ reason, message string }

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
			s.Keystores.Reason, s.Keystores.Problem = problem.reason, problem.message
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
	entry, err := r.Secrets.EntryDigest(ctx, key, k.entry())
	switch {
	case err != nil:
	case entry.Hash == sha256.Sum256(nil):
		err = k.missing(key)
	case k.field == "pkcs12" && entry.PKCS12Flaw != "":
		err = k.unusable(key, entry.PKCS12Flaw)
	}
	return entry.Hash, err
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
	return &errPassword{reasonKeystorePassword, fmt.Sprintf("spec.keystores.%s.passwordSecretRef: Secret %s with a password under %q does not exist: create it", k.field, key, k.entry())}
}

func (k wantedKeystore) unusable(key types.NamespacedName, flaw string) *errPassword {
	return &errPassword{reasonKeystoreUnusable, fmt.Sprintf("spec.keystores.%s.passwordSecretRef: the password in Secret %s under %q %s: change it", k.field, key, k.entry(), flaw)}
}

// password reads the password of one keystore live.
func (r *Certificates) password(ctx context.Context, namespace string, k wantedKeystore) (string, error) {
	if k.literal != nil {
		return *k.literal, nil
	}
	key := keyOf(namespace, k.secret.Name)
	data, err := r.Secrets.Payload(ctx, key)
	password := string(data[k.entry()])
	if apierrors.IsNotFound(err) || err == nil && password == "" {
		return "", k.missing(key)
	}
	if flaw := pki.PKCS12PasswordFlaw(password); err == nil && k.field == "pkcs12" && flaw != "" {
		return "", k.unusable(key, flaw)
	}
	return password, err
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
