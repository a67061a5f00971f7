package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// up starts a keeper in the background, waits until its daemon is ready and prints how to reach it. Where there is a keeper already, it
// waits for that one.
func up(ctx context.Context) error {
	k, err := findKeeper()
	if err != nil {
		return err
	}
	if pid, err := k.running(); err != nil {
		return err
	} else if pid != 0 {
		kubeconfig, err := k.awaitReady(ctx)
		if err == nil {
			printUp("already running", kubeconfig)
		}
		return err
	}
	if _, err := testenv.Binaries(ctx, os.Stderr); err != nil {
		return err
	}
	ended, process, err := k.start()
	if err != nil {
		return err
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-ended
		cancel(fmt.Errorf("it has ended; see %s", k.log()))
	}()
	kubeconfig, err := k.awaitReady(waiting)
	if err == nil {
		printUp("running", kubeconfig)
		return nil
	}
	_ = process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-ended
	if pid, _ := k.running(); pid != 0 { // another one was quicker
		return up(ctx)
	}
	if cause := context.Cause(waiting); cause != nil {
		err = cause
	}
	return fmt.Errorf("starting the control plane and the daemon: %w", err)
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
	k := keeper{state}
	claim, err := k.claim(ctx)
	if err != nil {
		return err
	}
	defer claim.Close()
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
	if err := os.WriteFile(state, []byte(l.plane.Kubeconfig), 0o600); err != nil {
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
	k, err := findKeeper()
	if err != nil {
		return err
	}
	pid, err := k.running()
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
		still, err := k.running()
		if err == nil && still != 0 {
			err = fmt.Errorf("process %d is still there", still)
		}
		return err
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
	dismiss, err := testenv.Guard(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dismiss()) }()
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
