package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// ControlPlane is a running etcd, kube-apiserver and kube-controller-manager. Everything it writes lies in Dir, which
// Stop removes.
type ControlPlane struct {
	// Dir holds certificates, logs, etcd's data and Kubeconfig.
	Dir string
	// Kubeconfig is the path of a kubeconfig of the cluster admin.
	Kubeconfig string
	// Admin is the cluster admin's configuration, without a client-side rate limit.
	Admin *rest.Config

	env *envtest.Environment
	kcm *exec.Cmd

	guard *guard
}

// root is the checkout's top folder, found from this file's own place.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Binaries returns the directory with the control plane's binaries, which it builds when they are not there yet; progress
// goes to progress.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	build := exec.CommandContext(ctx, filepath.Join(root(), "e2e", "controlplane", "build.sh"))
	build.Stderr = progress
	// A group of its own: an interrupt ends the build through ctx, together with the compilers it started.
	build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	build.Cancel = func() error { return syscall.Kill(-build.Process.Pid, syscall.SIGTERM) }
	build.WaitDelay = 5 * time.Second
	out, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("building the control plane: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], nil
}

// Start builds the binaries if need be and starts the three processes. On an error nothing is left running and Dir is gone.
// Cancelling ctx makes Start give up; it does not stop a control plane that has started.
func Start(ctx context.Context, progress io.Writer) (_ *ControlPlane, err error) {
	assets, err := Binaries(ctx, progress)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "trustglass-")
	if err != nil {
		return nil, fmt.Errorf("creating a directory for the control plane: %w", err)
	}
	c := &ControlPlane{Dir: dir, Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.guard, err = startGuard(dir); err != nil {
		return nil, err
	}
	if err := c.startServers(assets); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.Admin = rest.CopyConfig(c.env.Config)
	c.Admin.QPS = -1
	if err := writeKubeconfig(c.Kubeconfig, c.Admin); err != nil {
		return nil, err
	}
	if err := c.startControllerManager(ctx, assets); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ControlPlane) startServers(assets string) error {
	etcdDir, certDir := filepath.Join(c.Dir, "etcd"), filepath.Join(c.Dir, "apiserver")
	for _, d := range []string{etcdDir, certDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("creating %s: %w", d, err)
		}
	}
	logs, err := os.Create(filepath.Join(c.Dir, "servers.log"))
	if err != nil {
		return fmt.Errorf("creating the servers' log: %w", err)
	}
	defer logs.Close() // each child has its own descriptor
	apiserver := &envtest.APIServer{CertDir: certDir, Out: logs, Err: logs}
	// ServiceAccounts exist here (the controller manager makes them), so their admission plugin runs as in a real cluster.
	apiserver.Configure().Disable("disable-admission-plugins").
		Set("enable-aggregator-routing", "false").
		Set("event-ttl", "30m")
	c.env = &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  30 * time.Second,
		ControlPlane: envtest.ControlPlane{
			Etcd:      &envtest.Etcd{DataDir: etcdDir, Out: logs, Err: logs},
			APIServer: apiserver,
		},
	}
	if _, err := c.env.Start(); err != nil {
		return fmt.Errorf("starting etcd and kube-apiserver: %w; the end of their log:\n%s", err, tail(logs.Name(), 2000))
	}
	// envtest makes certificates for webhooks of its own, in a directory that nothing but an orderly stop would remove.
	if err := os.RemoveAll(c.env.WebhookInstallOptions.LocalServingCertDir); err != nil {
		return fmt.Errorf("removing certificates that nobody uses: %w", err)
	}
	return nil
}

func (c *ControlPlane) startControllerManager(ctx context.Context, assets string) error {
	certs := c.env.ControlPlane.APIServer.CertDir
	rootCA := filepath.Join(c.Dir, "ca.crt")
	if err := os.WriteFile(rootCA, c.Admin.CAData, 0o600); err != nil {
		return fmt.Errorf("writing the cluster's CA: %w", err)
	}
	logs, err := os.Create(filepath.Join(c.Dir, "kube-controller-manager.log"))
	if err != nil {
		return fmt.Errorf("creating the controller manager's log: %w", err)
	}
	defer logs.Close()
	port, err := freePort()
	if err != nil {
		return err
	}
	c.kcm = exec.Command(filepath.Join(assets, "kube-controller-manager"),
		"--kubeconfig="+c.Kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port), "--cert-dir="+certs,
		"--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(certs, "sa-signer.key"),
		"--root-ca-file="+rootCA,
		// Tests delete namespaces and owners by the dozen; the defaults (20 a second) are made for big clusters.
		"--kube-api-qps=200", "--kube-api-burst=400",
	)
	c.kcm.Stdout, c.kcm.Stderr = logs, logs
	c.kcm.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.kcm.Start(); err != nil {
		c.kcm = nil
		return fmt.Errorf("starting kube-controller-manager: %w", err)
	}
	if err := c.waitForDefaultServiceAccount(ctx); err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, tail(logs.Name(), 2000))
	}
	return nil
}

// tail returns the end of a file, for an error message: the file itself goes with Dir.
func tail(path string, max int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[len(b)-min(len(b), max):])
}

// waitForDefaultServiceAccount returns once the controller manager works: it has made the first ServiceAccount.
func (c *ControlPlane) waitForDefaultServiceAccount(ctx context.Context) error {
	admin, err := client.New(c.Admin, client.Options{Scheme: Scheme()})
	if err != nil {
		return fmt.Errorf("building a client for the control plane: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return poll(ctx, "kube-controller-manager making ServiceAccount default/default", func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
	})
}

// Stop ends the three processes and removes Dir.
func (c *ControlPlane) Stop() error {
	var errs []error
	if c.kcm != nil {
		if err := stopProcess(c.kcm, 10*time.Second); err != nil {
			errs = append(errs, fmt.Errorf("stopping kube-controller-manager: %w", err))
		}
		c.kcm = nil
	}
	if c.env != nil {
		if err := c.env.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("stopping etcd and kube-apiserver: %w", err))
		}
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		errs = append(errs, fmt.Errorf("removing %s: %w", c.Dir, err))
	}
	if c.guard != nil && len(errs) == 0 {
		errs = append(errs, c.guard.dismiss())
		c.guard = nil
	}
	return errors.Join(errs...)
}

// stopProcess asks a process to end and kills it when it has not after grace.
func stopProcess(cmd *exec.Cmd, grace time.Duration) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		_ = cmd.Wait()
		return nil
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }() // its exit status is the signal's
	select {
	case <-done:
		return nil
	case <-time.After(grace):
	}
	err := cmd.Process.Kill()
	<-done
	return err
}

// writeKubeconfig writes a kubeconfig file for config at path; a token that lies in a file stays there.
func writeKubeconfig(path string, config *rest.Config) error {
	const name = "trustglass"
	kubeconfig := clientcmdapi.Config{
		CurrentContext: name,
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile,
			InsecureSkipTLSVerify: config.Insecure, TLSServerName: config.ServerName,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken, TokenFile: config.BearerTokenFile,
		}},
	}
	if err := clientcmd.WriteToFile(kubeconfig, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// poll calls f until it returns nil or ctx ends; the error then names what was waited for and f's last answer.
func poll(ctx context.Context, what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
