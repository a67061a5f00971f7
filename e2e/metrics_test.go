package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// readMetrics reads a daemon's metrics over TLS as whoever trusts roots and calls it by name.
func readMetrics(d *testenv.DaemonProcess, roots []byte, name string) (*tls.ConnectionState, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("no certificate to trust in %q", roots)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(strings.Replace(d.Metrics, "http:", "https:", 1))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(body), "process_start_time_seconds") {
		err = fmt.Errorf("no metrics: %.200s", body)
	}
	return resp.TLS, err
}

// Metrics over TLS, with a certificate of a CA that the daemon keeps in a Secret.
func TestMetricsOfOwnCA(t *testing.T) {
	ns := testenv.Namespace(t, nil)
	d := startDaemon(t, "--metrics-dynamic-serving-ca-secret-namespace="+ns, "--metrics-dynamic-serving-ca-secret-name=metrics-ca",
		"--metrics-dynamic-serving-dns-names=metrics.example,other.example", "--metrics-tls-min-version=VersionTLS13")
	for _, name := range []string{"metrics.example", "other.example"} {
		testenv.Eventually(t, "metrics by the name "+name, func() error {
			ca, err := get(ns, "metrics-ca", &corev1.Secret{})
			if err != nil {
				return err
			}
			state, err := readMetrics(d, ca.Data["ca.crt"], name)
			if err == nil && state.Version != tls.VersionTLS13 {
				err = fmt.Errorf("version %x", state.Version)
			}
			return err
		})
	}
	if _, err := testenv.Fetch(ctx, d.Metrics); err == nil {
		t.Error("the metrics are served in plain text too")
	}
}

// Metrics over TLS, with a certificate from files that are exchanged meanwhile.
func TestMetricsOfFiles(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(serial int64) (cert []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{"metrics.example"}, IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		for path, data := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return cert
	}
	cert := write(1)
	d := startDaemon(t, "--metrics-tls-cert-file="+certFile, "--metrics-tls-private-key-file="+keyFile)
	if _, err := readMetrics(d, cert, "metrics.example"); err != nil {
		t.Error(err)
	}
	cert = write(2)
	testenv.Eventually(t, "the new certificate", func() error {
		_, err := readMetrics(d, cert, "metrics.example")
		return err
	})
}
