package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trustglass/trustglass/trust/internal/shared"
)

const (
	// maxInputBytes bounds one source key before it is parsed. It is the API's own limit for a Secret, a ConfigMap and an
	// inLine source. A bundle of all public roots (about 150) has 200 to 250 kB.
	maxInputBytes = 1 << 20
	// maxTotalBytes bounds all source keys of one Bundle together, duplicates included: some thirty bundles of all public
	// roots.
	maxTotalBytes = 8 << 20
	// maxOutputBytes bounds the assembled text. The API refuses a ConfigMap of more than 1 MiB of data; the difference is
	// left to keys that others keep in the same ConfigMap.
	maxOutputBytes = 1<<20 - 16<<10
)

// negativeSerial is the SHA-256 of the one public root (EC-ACC) whose serial number is negative, which no parser of today
// accepts. It is left out instead of refusing the bundle of public roots that it is in, as trust-manager does.
const negativeSerial = "88497f01602f3154246ae28c4d5aef10f1d87ebb76626f4ae0b7f95ba7968799"

// Input is the content of one source key.
type Input struct {
	From string // for messages: which object and key
	PEM  []byte
}

// Options say which certificates are left out. The zero value keeps all, as trust-manager does.
type Options struct {
	FilterExpired bool
	FilterNonCA   bool
}

// Certificate is one certificate of a Pool.
type Certificate struct {
	Fingerprint string // SHA-256 of the DER, hex
	Subject     string // at most 100 runes
	NotAfter    time.Time
}

// Skipped is a certificate that was left out.
type Skipped struct {
	From, Subject, Why string
}

// Pool is what a Bundle publishes.
type Pool struct {
	// PEM has each certificate once, in ascending order of its fingerprint, without a newline at the end. So the order of
	// sources never matters.
	PEM          string
	Certificates []Certificate
	Skipped      []Skipped
	// Until is when the next certificate of the Pool expires, if expired ones are left out; zero if time changes nothing.
	Until time.Time
}

// Refusal says why a Bundle is not published, in words for its author. Retrying does not help: something that is watched
// has to change.
type Refusal struct {
	Reason, Message string
}

func (r *Refusal) Error() string { return r.Message }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// assemble makes the Pool of a Bundle's inputs. The error is a *Refusal.
func assemble(inputs []Input, o Options, now time.Time) (Pool, error) {
	if err := checkSizes(inputs); err != nil {
		return Pool{}, err
	}
	var pool Pool
	ders := map[[sha256.Size]byte][]byte{}
	found := 0
	for _, in := range inputs {
		blocks, err := certificateBlocks(in)
		if err != nil {
			return Pool{}, err
		}
		found += len(blocks)
		for i, der := range blocks {
			sum := sha256.Sum256(der)
			if _, known := ders[sum]; known {
				continue
			}
			cert, skip, err := parse(der, sum, o, now)
			if err != nil {
				return Pool{}, refuse(reasonSourceBuildError, "%s: certificate %d cannot be parsed: %v; replace or remove it", in.From, i+1, err)
			}
			if skip != "" {
				pool.Skipped = append(pool.Skipped, Skipped{From: in.From, Subject: cert.Subject, Why: skip})
				continue
			}
			ders[sum] = der
			pool.Certificates = append(pool.Certificates, cert)
		}
	}
	if len(pool.Certificates) == 0 {
		return Pool{}, empty(inputs, found)
	}
	return pool.finish(ders, o)
}

// finish orders the certificates and writes the text.
func (p Pool) finish(ders map[[sha256.Size]byte][]byte, o Options) (Pool, error) {
	slices.SortFunc(p.Certificates, func(a, b Certificate) int { return cmp.Compare(a.Fingerprint, b.Fingerprint) })
	var text bytes.Buffer
	for _, sum := range slices.SortedFunc(maps.Keys(ders), func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) }) {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: ders[sum]}); err != nil {
			return Pool{}, fmt.Errorf("encoding a certificate: %w", err)
		}
	}
	p.PEM = strings.TrimSuffix(text.String(), "\n")
	if len(p.PEM) > maxOutputBytes {
		return Pool{}, refuse(reasonSourceBuildError,
			"the bundle of %d certificates has %d bytes and a ConfigMap holds no more than %d; split the sources over several Bundles",
			len(p.Certificates), len(p.PEM), maxOutputBytes)
	}
	if o.FilterExpired {
		p.Until = slices.MinFunc(p.Certificates, func(a, b Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	}
	return p, nil
}

func checkSizes(inputs []Input) error {
	total := 0
	for _, in := range inputs {
		if len(in.PEM) > maxInputBytes {
			return refuse(reasonSourceBuildError, "%s has %d bytes, more than the %d allowed", in.From, len(in.PEM), maxInputBytes)
		}
		total += len(in.PEM)
	}
	if total > maxTotalBytes {
		return refuse(reasonSourceBuildError, "the sources have %d bytes together, more than the %d allowed; select fewer of them", total, maxTotalBytes)
	}
	return nil
}

// empty explains a Bundle without certificates: text that is no PEM is a mistake in a source, all else is absence.
func empty(inputs []Input, found int) error {
	if found > 0 {
		return refuse(reasonSourceNotFound, "all %d certificates of the sources are filtered out (expired, or no CA)", found)
	}
	for _, in := range inputs {
		if len(bytes.TrimSpace(in.PEM)) > 0 {
			return refuse(reasonSourceBuildError, "%s holds no PEM certificate; it must hold blocks that begin with -----BEGIN CERTIFICATE-----", in.From)
		}
	}
	return refuse(reasonSourceNotFound, "no source holds a certificate; check the names, keys and selectors in spec.sources")
}

// parse reads one certificate; skip tells why it is left out.
func parse(der []byte, sum [sha256.Size]byte, o Options, now time.Time) (c Certificate, skip string, err error) {
	c.Fingerprint = hex.EncodeToString(sum[:])
	if c.Fingerprint == negativeSerial {
		return c, "negative serial number", nil
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return c, "", err
	}
	c.Subject, c.NotAfter = shared.Shorten(x.Subject.String(), 100), x.NotAfter
	switch {
	case o.FilterExpired && now.After(x.NotAfter):
		return c, "expired", nil
	case o.FilterNonCA && !(x.BasicConstraintsValid && x.IsCA):
		return c, "not a CA", nil
	}
	return c, "", nil
}

// certificateBlocks returns the DER of each block of one input. Text around blocks is dropped; any other block, PEM headers
// and a block that is begun but not well formed refuse the input, so that a truncated copy never drops roots unseen.
func certificateBlocks(in Input) ([][]byte, error) {
	var ders [][]byte
	for data := in.PEM; ; {
		block, rest := pem.Decode(data)
		begun := shared.Begins(data[:len(data)-len(rest)])
		if block == nil {
			begun = shared.Begins(data)
		}
		n := len(ders) + 1
		switch {
		case block == nil && begun == 0:
			return ders, nil
		case block == nil, begun != 1:
			return nil, refuse(reasonSourceBuildError, "%s: PEM block %d is not well formed; it may be cut off", in.From, n)
		case block.Type != "CERTIFICATE":
			return nil, refuse(reasonSourceBuildError,
				"%s: PEM block %d is a %q and a bundle takes CERTIFICATE blocks only; point the source at a key without private material, such as ca.crt",
				in.From, n, shared.Shorten(block.Type, 40))
		case len(block.Headers) > 0:
			return nil, refuse(reasonSourceBuildError, "%s: PEM block %d has headers; remove them", in.From, n)
		}
		ders = append(ders, block.Bytes)
		data = rest
	}
}

// contentHash is the value of AnnotationHash, byte for byte trust-manager's for a PEM target: the SHA-256 over the text,
// the annotations and then the labels the Bundle sets, each sorted by key and written as key and value with nothing between.
func contentHash(text string, annotations, labels map[string]string) string {
	h := sha256.New()
	h.Write([]byte(text))
	for _, m := range []map[string]string{annotations, labels} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			h.Write([]byte(k + m[k]))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
