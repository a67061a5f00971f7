package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
)

// Options are what a Server needs to know.
type Options struct {
	// Namespace is the daemon's own: the CA's Secret and the Service lie there.
	Namespace string
	// Address is where the server listens: host:port.
	Address string
	// URL is where API servers reach Address, such as https://192.0.2.1:10250, where the daemon runs outside of the cluster and no
	// Service leads to it: both configurations are made to call it. Empty leaves what they call to whoever installs them.
	URL string
	// Linger is how long the server goes on answering after it was told to stop, for API servers that have not heard yet that it
	// is gone from its Service.
	Linger time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Lifetimes are those of the certificates.
	Lifetimes Lifetimes
}

// Server answers the API server's admission requests, and keeps the certificate that it answers with. It is a webhook.Server of
// controller-runtime, so that a manager starts it before its caches fill: they may take a while, and admission does not need them.
type Server struct {
	options   Options
	keeper    *keeper
	approvals approvals
	asking    chan struct{} // bounds the requests that wait for approvals
	bodies    *intake
	mux       *http.ServeMux

	mu       sync.Mutex   // guards listener
	listener net.Listener // nil until the server listens
}

var _ ctrlwebhook.Server = (*Server)(nil)

// New returns a Server that uses mgr's clients. Add it to the manager, and its StartedChecker to the readiness probes.
func New(mgr ctrl.Manager, o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		options: o,
		keeper: &keeper{
			client: mgr.GetClient(), live: mgr.GetAPIReader(), config: mgr.GetConfig(),
			secret: types.NamespacedName{Namespace: o.Namespace, Name: SecretName}, url: o.URL, now: o.Now,
			lifetimes: o.Lifetimes.withDefaults(), recheck: recheck, poke: make(chan struct{}, 1),
		},
		approvals: newApprovals(mgr.GetClient(), mappers(mgr.GetConfig(), mgr.GetHTTPClient())),
		asking:    make(chan struct{}, maxAsking),
		bodies:    newIntake(maxPendingBytes, bodyTimeout),
		mux:       http.NewServeMux(),
	}
	s.Register(PathMutate, s.review(PathMutate, mutate))
	s.Register(PathValidate, s.review(PathValidate, validate))
	for _, path := range []string{"/healthz", "/livez"} {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	}
	return s, nil
}

// NeedLeaderElection is false: every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Register serves a handler at path.
func (s *Server) Register(path string, handler http.Handler) { s.mux.Handle(path, handler) }

// WebhookMux returns what serves the paths.
func (s *Server) WebhookMux() *http.ServeMux { return s.mux }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("webhook"))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.Address)
	if err != nil {
		return fmt.Errorf("listening for admission requests: %w", err)
	}
	server := s.httpServer(ctx)
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	kept := make(chan error, 1)
	go func() { kept <- s.keeper.run(keeping) }()
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	s.listens(listener)
	defer s.listens(nil)
	select {
	case err := <-served:
		return fmt.Errorf("serving admission requests: %w", err)
	case err := <-kept:
		if err != nil {
			return errors.Join(err, server.Close())
		}
	case <-ctx.Done():
	}
	if err := linger(served, s.options.Linger); err != nil {
		return errors.Join(fmt.Errorf("serving admission requests: %w", err), server.Close())
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	return server.Shutdown(ending)
}

// linger waits for d, or until serving ends, since nothing is left to wait for then.
func linger(served <-chan error, d time.Duration) error {
	select {
	case err := <-served:
		return err
	case <-time.After(d):
		return nil
	}
}

func (s *Server) listens(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
}

func (s *Server) httpServer(ctx context.Context) *http.Server {
	logger := log.FromContext(ctx)
	return &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		// What it logs is mostly that somebody hung up.
		ErrorLog: stdlog.New(logWriter(func(text string) { logger.V(1).Info("serving", "message", text) }), "", 0),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
			Time:           s.options.Now,
			GetCertificate: s.keeper.certificate,
		},
	}
}

type logWriter func(string)

func (w logWriter) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// StartedChecker is healthy while the server answers on its port with a certificate that every configuration trusts.
func (s *Server) StartedChecker() healthz.Checker {
	return func(req *http.Request) error {
		for {
			state := s.keeper.state.Load()
			err := s.started(req.Context(), state)
			if err == nil || state == s.keeper.state.Load() { // else the certificate may have been exchanged meanwhile
				return err
			}
		}
	}
}

func (s *Server) started(ctx context.Context, state *serving) error {
	if state == nil {
		return errors.New("the webhook has no certificate yet, or the configurations do not trust it")
	}
	if err := trustedEverywhere(state, s.options.Now()); err != nil {
		return fmt.Errorf("a webhook configuration does not trust the webhook: %w", err)
	}
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()
	if listener == nil {
		return errors.New("the webhook does not listen yet")
	}
	return s.handshake(ctx, listener.Addr(), state)
}

// trustedEverywhere tells why a caller would not trust the leaf, by whichever name and configuration it calls.
func trustedEverywhere(state *serving, now time.Time) error {
	if state.leaf == nil {
		return errors.New("there is no certificate")
	}
	for _, bundle := range state.trusted {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		for _, name := range state.names {
			if _, err := state.leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
				return err
			}
		}
	}
	return nil
}

// handshake connects as the API server would, to the port that we listen on.
func (s *Server) handshake(ctx context.Context, addr net.Addr, state *serving) error {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return fmt.Errorf("reading the webhook's address: %w", err)
	}
	host, _, err := net.SplitHostPort(s.options.Address)
	if err != nil || host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	roots := x509.NewCertPool()
	roots.AddCert(state.ca)
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 2 * time.Second},
		Config:    &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: state.names[0], Time: s.options.Now},
	}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("connecting to the webhook: %w", err)
	}
	return conn.Close()
}
