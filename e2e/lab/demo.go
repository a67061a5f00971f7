package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

//go:embed demo.yaml
var demoManifests []byte

// stepLimit is how long a step of the story may take.
const stepLimit = 20 * time.Second

// story tells the demo's steps while they happen.
type story struct {
	*lab
	n int
}

// demo shows the main job on a real API server. It returns nil only when every step was seen.
func demo(ctx context.Context) (err error) {
	begin := time.Now()
	fmt.Println("Starting etcd, kube-apiserver and kube-controller-manager on free loopback ports.")
	l, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := testenv.InstallWebhooks(ctx, l.plane.Admin); err != nil {
		return err
	}
	if err := l.start(ctx); err != nil {
		return err
	}
	fmt.Printf("The control plane and the daemon are up after %.1f s; the daemon runs as ServiceAccount cert-manager/trustglass.\n\n", time.Since(begin).Seconds())
	s := &story{lab: l}
	if err := s.applyManifests(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		title string
		run   func(context.Context) (string, error)
	}{
		{"a self-signed root stands in Secret cert-manager/root-ca", s.rootIssued},
		{"ClusterIssuer internal signs with it", s.issuerReady},
		{"the server's certificate is issued into Secret shop/server-tls", s.serverIssued},
		{"its mirrors stand in exactly the namespaces that it allows: edge-eu and edge-us", s.mirrored},
		{"the root is published as ConfigMap internal-ca in the namespaces labelled trust=internal, and no others", s.published},
		{"a client that has only that ConfigMap completes a TLS handshake with a server run from the Secret", s.handshake},
		{"the client's namespace holds no private key", s.noKeyAtClient},
		{"after a renewal the Secret has a new key and certificate", s.renewed},
		{"the mirrors have followed", s.mirrored},
		{"and the same client still trusts the server", s.handshake},
	} {
		if err := s.tell(ctx, step.title, step.run); err != nil {
			return fmt.Errorf("%w\nthe end of the daemon's log:\n%s", err, l.daemon.LogTail())
		}
	}
	fmt.Printf("\nEvery step was seen. All of it took %.1f s.\n", time.Since(begin).Seconds())
	return nil
}

func (s *story) tell(ctx context.Context, title string, run func(context.Context) (string, error)) error {
	s.n++
	start := time.Now()
	detail := ""
	err := eventually(ctx, stepLimit, func() (err error) {
		detail, err = run(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("step %d, %s: %w", s.n, title, err)
	}
	fmt.Printf("%2d. %s  (%d ms)\n", s.n, title, time.Since(start).Milliseconds())
	if detail != "" {
		fmt.Printf("    %s\n", detail)
	}
	return nil
}

func (s *story) applyManifests(ctx context.Context) error {
	docs := yaml.NewYAMLToJSONDecoder(bytes.NewReader(demoManifests))
	n := 0
	for {
		u := &unstructured.Unstructured{}
		err := docs.Decode(u)
		if errors.Is(err, io.EOF) {
			fmt.Printf("Applied %d objects, as kubectl would: issuers, certificates, a bundle and their namespaces.\n", n)
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the demo's manifests: %w", err)
		}
		if err := s.admin.Create(ctx, u); err != nil {
			return fmt.Errorf("creating %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		n++
	}
}

func (s *story) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, s.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
}

// certificate returns a Ready Certificate with the leaf in its Secret.
func (s *story) certificate(ctx context.Context, namespace, name string) (*cmapi.Certificate, *x509.Certificate, error) {
	cert := &cmapi.Certificate{}
	if err := s.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cert); err != nil {
		return nil, nil, err
	}
	ready := slices.ContainsFunc(cert.Status.Conditions, func(c cmapi.CertificateCondition) bool {
		return c.Type == cmapi.CertificateConditionReady && c.Status == cmmeta.ConditionTrue
	})
	if !ready {
		return nil, nil, fmt.Errorf("the Certificate %s/%s is not Ready: %+v", namespace, name, cert.Status.Conditions)
	}
	secret, err := s.secret(ctx, namespace, cert.Spec.SecretName)
	if err != nil {
		return nil, nil, err
	}
	pair, err := pki.ParseKeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		return nil, nil, fmt.Errorf("the Secret %s/%s: %w", namespace, secret.Name, err)
	}
	return cert, pair.Certs[0], nil
}

func describe(c *x509.Certificate) string {
	return fmt.Sprintf("subject %q, names %v, serial %x, until %s", c.Subject, c.DNSNames, c.SerialNumber, c.NotAfter.Format(time.DateOnly))
}

func (s *story) rootIssued(ctx context.Context) (string, error) {
	_, leaf, err := s.certificate(ctx, "cert-manager", "root-ca")
	if err != nil {
		return "", err
	}
	if !leaf.IsCA || leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil {
		return "", errors.New("the root is not a self-signed CA")
	}
	return describe(leaf), nil
}

func (s *story) issuerReady(ctx context.Context) (string, error) {
	issuer := &cmapi.ClusterIssuer{}
	if err := s.admin.Get(ctx, client.ObjectKey{Name: "internal"}, issuer); err != nil {
		return "", err
	}
	for _, c := range issuer.Status.Conditions {
		if c.Type == cmapi.IssuerConditionReady && c.Status == cmmeta.ConditionTrue {
			return c.Reason + ": " + c.Message, nil
		}
	}
	return "", fmt.Errorf("the ClusterIssuer internal is not Ready: %+v", issuer.Status.Conditions)
}

func (s *story) serverIssued(ctx context.Context) (string, error) {
	cert, leaf, err := s.certificate(ctx, "shop", "server")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; revision %d, to be renewed on %s", describe(leaf), ptr.Deref(cert.Status.Revision, 0), cert.Status.RenewalTime.Format(time.DateOnly)), nil
}

// mirrored checks that the server's Secret stands, byte for byte, in the edge namespaces and nowhere else.
func (s *story) mirrored(ctx context.Context) (string, error) {
	source, err := s.secret(ctx, "shop", "server-tls")
	if err != nil {
		return "", err
	}
	var all corev1.SecretList
	if err := s.admin.List(ctx, &all); err != nil {
		return "", err
	}
	var in []string
	for _, m := range all.Items {
		if m.Name != source.Name || m.Namespace == source.Namespace {
			continue
		}
		if !bytes.Equal(m.Data["tls.key"], source.Data["tls.key"]) || !bytes.Equal(m.Data["tls.crt"], source.Data["tls.crt"]) {
			return "", fmt.Errorf("the mirror in %s is not equal to its source", m.Namespace)
		}
		in = append(in, m.Namespace)
	}
	if slices.Sort(in); !slices.Equal(in, []string{"edge-eu", "edge-us"}) {
		return "", fmt.Errorf("mirrors stand in %v", in)
	}
	return "", nil
}

func (s *story) published(ctx context.Context) (string, error) {
	root, err := s.secret(ctx, "cert-manager", "root-ca")
	if err != nil {
		return "", err
	}
	var all corev1.ConfigMapList
	if err := s.admin.List(ctx, &all); err != nil {
		return "", err
	}
	var in []string
	for _, m := range all.Items {
		if m.Name != "internal-ca" {
			continue
		}
		if strings.TrimSpace(m.Data["ca.crt"]) != strings.TrimSpace(string(root.Data["tls.crt"])) {
			return "", fmt.Errorf("the ConfigMap in %s does not hold the root", m.Namespace)
		}
		in = append(in, m.Namespace)
	}
	if slices.Sort(in); !slices.Equal(in, []string{"client", "edge-eu", "edge-us", "shop"}) {
		return "", fmt.Errorf("ConfigMaps stand in %v", in)
	}
	return fmt.Sprintf("in %v", in), nil
}

// handshake runs a TLS server from the mirrored Secret in edge-eu, and a client that is given the ConfigMap in namespace client.
func (s *story) handshake(ctx context.Context) (string, error) {
	secret, err := s.secret(ctx, "edge-eu", "server-tls")
	if err != nil {
		return "", err
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		return "", err
	}
	bundle := &corev1.ConfigMap{}
	if err := s.admin.Get(ctx, client.ObjectKey{Namespace: "client", Name: "internal-ca"}, bundle); err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(bundle.Data["ca.crt"])) {
		return "", errors.New("the ConfigMap client/internal-ca holds no certificate")
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return "", err
	}
	defer listener.Close()
	go greet(listener)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: "server.shop.svc", MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	greeting, err := io.ReadAll(io.LimitReader(conn, 64))
	if err != nil {
		return "", err
	}
	state := conn.(*tls.Conn).ConnectionState()
	return fmt.Sprintf("%s, server's serial %x; it says %q", tls.VersionName(state.Version), state.PeerCertificates[0].SerialNumber, greeting), nil
}

func greet(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return // the client never came
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "hello over TLS") // the client tells what it received
}

func (s *story) noKeyAtClient(ctx context.Context) (string, error) {
	var secrets corev1.SecretList
	if err := s.admin.List(ctx, &secrets, client.InNamespace("client")); err != nil {
		return "", err
	}
	if len(secrets.Items) > 0 {
		return "", fmt.Errorf("namespace client holds %d Secrets", len(secrets.Items))
	}
	var maps corev1.ConfigMapList
	if err := s.admin.List(ctx, &maps, client.InNamespace("client")); err != nil {
		return "", err
	}
	for _, m := range maps.Items {
		for key, value := range m.Data {
			if strings.Contains(value, "PRIVATE KEY") {
				return "", fmt.Errorf("ConfigMap %s has a private key in %s", m.Name, key)
			}
		}
	}
	return fmt.Sprintf("0 Secrets, %d ConfigMaps, none with a private key", len(maps.Items)), nil
}

// renewed asks for a renewal, as cmctl renew does, and waits for revision 2.
func (s *story) renewed(ctx context.Context) (string, error) {
	cert, leaf, err := s.certificate(ctx, "shop", "server")
	if err != nil {
		return "", err
	}
	if ptr.Deref(cert.Status.Revision, 0) >= 2 {
		return describe(leaf), nil
	}
	cert.Status.Conditions = append(cert.Status.Conditions, cmapi.CertificateCondition{
		Type: cmapi.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered",
		Message: "Certificate re-issuance manually triggered", LastTransitionTime: ptr.To(metav1.Now()),
	})
	if err := s.admin.Status().Update(ctx, cert); err != nil {
		return "", err
	}
	return "", errors.New("revision 2 is not there yet")
}
