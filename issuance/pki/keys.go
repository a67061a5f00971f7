package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// MaxKeyBytes is the largest private key PEM that is parsed: an RSA key of 16384 bits takes about 12 500 bytes. It is
// cert-manager's limit.
const MaxKeyBytes = 13_000

// Sizes of RSA keys that are made, and, at the upper end, accepted of those who ask for a signature.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// ErrNoKey is returned for data that holds no private key in PEM.
var ErrNoKey = errors.New("no private key in PEM form found")

// KeySpec is an algorithm with its size in bits; the size is zero for Ed25519.
type KeySpec struct {
	Algorithm cmapi.PrivateKeyAlgorithm
	Size      int
}

// KeySpecOf returns what a Certificate asks for, with cert-manager's defaults: RSA of 2048 bits, ECDSA on P-256.
func KeySpecOf(k *cmapi.CertificatePrivateKey) KeySpec {
	spec := KeySpec{Algorithm: cmapi.RSAKeyAlgorithm}
	if k != nil {
		spec.Size = k.Size
		if k.Algorithm != "" {
			spec.Algorithm = k.Algorithm
		}
	}
	switch {
	case spec.Algorithm == cmapi.Ed25519KeyAlgorithm:
		spec.Size = 0
	case spec.Size != 0:
	case spec.Algorithm == cmapi.RSAKeyAlgorithm:
		spec.Size = 2048
	case spec.Algorithm == cmapi.ECDSAKeyAlgorithm:
		spec.Size = 256
	}
	return spec
}

// Validate tells whether such a key can be made.
func (k KeySpec) Validate() error {
	switch k.Algorithm {
	case cmapi.RSAKeyAlgorithm:
		if k.Size < minRSABits || k.Size > maxRSABits {
			return fmt.Errorf("an RSA key has %d to %d bits, not %d", minRSABits, maxRSABits, k.Size)
		}
	case cmapi.ECDSAKeyAlgorithm:
		if _, err := curve(k.Size); err != nil {
			return err
		}
	case cmapi.Ed25519KeyAlgorithm:
	default:
		return fmt.Errorf("unknown private key algorithm %q: use RSA, ECDSA or Ed25519", k.Algorithm)
	}
	return nil
}

func curve(bits int) (elliptic.Curve, error) {
	switch bits {
	case 256:
		return elliptic.P256(), nil
	case 384:
		return elliptic.P384(), nil
	case 521:
		return elliptic.P521(), nil
	}
	return nil, fmt.Errorf("an ECDSA key has 256, 384 or 521 bits, not %d", bits)
}

// GenerateKey makes a new private key.
func GenerateKey(spec KeySpec) (crypto.Signer, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	switch spec.Algorithm {
	case cmapi.ECDSAKeyAlgorithm:
		c, err := curve(spec.Size)
		if err != nil {
			return nil, err
		}
		return ecdsa.GenerateKey(c, rand.Reader)
	case cmapi.Ed25519KeyAlgorithm:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return rsa.GenerateKey(rand.Reader, spec.Size)
	}
}

// SpecOfKey returns the algorithm and size of a public key; the zero KeySpec for one of another kind.
func SpecOfKey(pub crypto.PublicKey) KeySpec {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return KeySpec{Algorithm: cmapi.RSAKeyAlgorithm, Size: p.N.BitLen()}
	case *ecdsa.PublicKey:
		return KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: p.Curve.Params().BitSize}
	case ed25519.PublicKey:
		return KeySpec{Algorithm: cmapi.Ed25519KeyAlgorithm}
	}
	return KeySpec{}
}

// EncodeKey returns a key in PEM. PKCS1 stands for the key's traditional form: PKCS #1 for RSA, SEC 1 for ECDSA; Ed25519 has
// PKCS #8 only. The empty encoding is PKCS1, cert-manager's default.
func EncodeKey(key crypto.Signer, encoding cmapi.PrivateKeyEncoding) ([]byte, error) {
	if encoding != cmapi.PKCS8 {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}), nil
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(k)
			if err != nil {
				return nil, fmt.Errorf("encoding an ECDSA key: %w", err)
			}
			return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads the first private key of a PEM text in any of the forms that EncodeKey writes. Errors never quote the input.
func ParseKey(text []byte) (crypto.Signer, error) {
	if len(text) > MaxKeyBytes {
		return nil, fmt.Errorf("private key PEM has %d bytes, more than the %d allowed", len(text), MaxKeyBytes)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("private key is not valid PKCS #8")
			}
			if signer, ok := key.(crypto.Signer); ok && SpecOfKey(signer.Public()) != (KeySpec{}) {
				return signer, nil
			}
			return nil, errors.New("private key is neither RSA, ECDSA nor Ed25519")
		case "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("private key is not valid SEC 1")
			}
			return key, nil
		case "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("private key is not valid PKCS #1")
			}
			return key, nil
		}
	}
	return nil, ErrNoKey
}

// KeyID identifies a public key: the SHA-256 of its SubjectPublicKeyInfo. The zero KeyID is no key's.
type KeyID [sha256.Size]byte

// KeyIDOf returns a public key's identity, the zero KeyID for a key that x509 can't encode.
func KeyIDOf(pub crypto.PublicKey) KeyID {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return KeyID{}
	}
	return sha256.Sum256(der)
}
