package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// stateFile remembers what `up` left running: the keeper's process id and the admin's kubeconfig.
func stateFile() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(dir, "trustglass", "up"), nil
}

// running returns the keeper's process id and kubeconfig; 0 when nothing runs.
func running() (pid int, kubeconfig string, err error) {
	path, err := stateFile()
	if err != nil {
		return 0, "", err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("reading what is running: %w", err)
	}
	id, kubeconfig, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if pid, err = strconv.Atoi(id); err != nil || syscall.Kill(pid, 0) != nil {
		return 0, "", os.Remove(path)
	}
	return pid, kubeconfig, nil
}

// up starts a keeper in the background, waits until its daemon is ready and prints how to reach it.
func up(ctx context.Context) error {
	pid, kubeconfig, err := running()
	if err != nil {
		return err
	}
	if pid != 0 {
		printUp("already running", kubeconfig)
		return nil
	}
	if _, err := testenv.Binaries(ctx, os.Stderr); err != nil {
		return err
	}
	path, err := stateFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("creating the cache directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	logs, err := os.Create(path + ".log")
	if err != nil {
		return fmt.Errorf("creating the log: %w", err)
	}
	defer logs.Close()
	keeper := exec.Command(self, "serve", path)
	keeper.Stdout, keeper.Stderr = logs, logs
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := keeper.Start(); err != nil {
		return fmt.Errorf("starting in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- keeper.Wait() }()
	err = eventually(ctx, time.Minute, func() error {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("it has ended: %v; see %s", err, logs.Name())
		default:
		}
		if pid, kubeconfig, err = running(); err == nil && pid == 0 {
			err = errors.New("not up yet")
		}
		return err
	})
	if err != nil {
		_ = keeper.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		return fmt.Errorf("starting the control plane and the daemon: %w", err)
	}
	printUp("running", kubeconfig)
	return nil
}

func printUp(what, kubeconfig string) {
	fmt.Printf("control plane and daemon are %s; the daemon's log is %s\n", what, filepath.Join(filepath.Dir(kubeconfig), "daemon.log"))
	fmt.Printf("export KUBECONFIG=%s\n", kubeconfig)
}

// serve keeps a control plane and the daemon running until it is told to stop, and says so in state.
func serve(ctx context.Context, state string) (err error) {
	if state == "" {
		return errUsage
	}
	l, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := testenv.InstallWebhooks(ctx, l.plane.Admin); err != nil {
		return err
	}
	if err := l.start(ctx, "--log-format=console"); err != nil {
		return err
	}
	if err := os.WriteFile(state, []byte(fmt.Sprintf("%d %s\n", os.Getpid(), l.plane.Kubeconfig)), 0o600); err != nil {
		return fmt.Errorf("saying what is running: %w", err)
	}
	defer os.Remove(state)
	tokens := make(chan error, 1)
	go func() { tokens <- testenv.KeepToken(ctx, l.plane.Dir, l.plane.Admin) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-tokens:
		return err
	case <-l.daemon.Done():
		return nil // close says that it ended by itself
	}
}

// down stops the keeper and with it everything that it started.
func down() error {
	pid, _, err := running()
	if err != nil {
		return err
	}
	if pid == 0 {
		fmt.Println("nothing is running")
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	err = eventually(context.Background(), time.Minute, func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	fmt.Println("stopped")
	return nil
}

// run installs CRDs and roles into an existing cluster and runs the daemon on this machine against it, as its ServiceAccount,
// until it is told to stop. What it installed stays, the webhook configurations apart, which without a daemon would refuse
// everything. They are installed where the API server runs on this machine: another one could not call the daemon.
func run(ctx context.Context, kubeconfig string) (err error) {
	admin, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	if err := testenv.Install(ctx, rest.CopyConfig(admin)); err != nil {
		return err
	}
	if local(admin.Host) {
		if err := errors.Join(testenv.RemoveWebhooks(ctx, admin), testenv.InstallWebhooks(ctx, admin)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, testenv.RemoveWebhooks(context.WithoutCancel(ctx), admin)) }()
	} else {
		fmt.Printf("admission is off: the API server at %s can't call this machine's loopback address\n", admin.Host)
	}
	binary, err := daemonBinary()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "trustglass-run-")
	if err != nil {
		return fmt.Errorf("creating a directory for the daemon's credentials: %w", err)
	}
	defer os.RemoveAll(dir)
	d, err := testenv.StartDaemon(ctx, binary, dir, admin, "--log-format=console")
	if err != nil {
		return err
	}
	fmt.Printf("the daemon runs against %s as ServiceAccount %s/%s; its log is %s; Ctrl-C stops it\n",
		admin.Host, testenv.DaemonNamespace, testenv.DaemonName, d.Log)
	tokens := make(chan error, 1)
	go func() { tokens <- testenv.KeepToken(ctx, dir, admin) }()
	select {
	case <-ctx.Done():
		return d.Stop()
	case err := <-tokens:
		return errors.Join(err, d.Stop())
	case <-d.Done():
		return fmt.Errorf("the daemon has ended by itself: %w", d.Stop())
	}
}

// local tells whether an API server's address is one of this machine's loopback.
func local(host string) bool {
	u, err := url.Parse(host)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
