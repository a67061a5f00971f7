package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// DaemonProcess is the daemon's binary running beside a control plane under its ServiceAccount.
type DaemonProcess struct {
	// Log is the path of what it writes.
	Log string
	// Probes and Metrics are the URLs of its two endpoints.
	Probes, Metrics string

	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// tokenFile holds the daemon's token, in the directory of its files.
const tokenFile = "daemon.token"

// BuildDaemon builds the daemon's binary into dir and returns its path.
func BuildDaemon(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "trustglass")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/trustglass")
	build.Dir = root()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the daemon: %w\n%s", err, out)
	}
	return path, nil
}

// StartDaemon starts a binary as the daemon with its shipped rights and waits until it is ready. Files that it needs go to
// dir; args are added to its command line.
func StartDaemon(ctx context.Context, binary, dir string, admin *rest.Config, args ...string) (*DaemonProcess, error) {
	config, err := Daemon(ctx, admin)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "daemon.kubeconfig")
	// The token stays in a file of its own, where KeepToken renews it.
	token := filepath.Join(dir, tokenFile)
	if err := os.WriteFile(token, []byte(config.BearerToken), 0o600); err != nil {
		return nil, fmt.Errorf("writing the daemon's token: %w", err)
	}
	config.BearerToken, config.BearerTokenFile = "", token
	if err := writeKubeconfig(kubeconfig, config); err != nil {
		return nil, err
	}
	probes, err := freePort()
	if err != nil {
		return nil, err
	}
	metrics, err := freePort()
	if err != nil {
		return nil, err
	}
	webhook, err := freePort()
	if err != nil {
		return nil, err
	}
	admission := "127.0.0.1:" + strconv.Itoa(webhook)
	d := &DaemonProcess{
		Log:     filepath.Join(dir, "daemon.log"),
		Probes:  "http://127.0.0.1:" + strconv.Itoa(probes),
		Metrics: "http://127.0.0.1:" + strconv.Itoa(metrics) + "/metrics",
		done:    make(chan struct{}),
	}
	out, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating the daemon's log: %w", err)
	}
	defer out.Close()
	d.cmd = exec.Command(binary, append([]string{
		"run", "--kubeconfig=" + kubeconfig, "--own-namespace=" + DaemonNamespace,
		"--metrics-bind-address=127.0.0.1:" + strconv.Itoa(metrics), "--health-probe-bind-address=127.0.0.1:" + strconv.Itoa(probes),
		"--webhook-bind-address=" + admission, "--webhook-url=https://" + admission,
	}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the daemon: %w", err)
	}
	go func() { d.err = d.cmd.Wait(); close(d.done) }()
	if err := d.waitReady(ctx); err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	return d, nil
}

// KeepToken renews the token of the daemon whose files lie in dir until ctx ends.
func KeepToken(ctx context.Context, dir string, admin *rest.Config) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(6 * time.Hour): // a token is good for a day
		}
		config, err := Daemon(ctx, admin)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte(config.BearerToken), 0o600); err != nil {
			return fmt.Errorf("renewing the daemon's token: %w", err)
		}
	}
}

func (d *DaemonProcess) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := poll(ctx, "the daemon to be ready", func() error {
		select {
		case <-d.done:
			cancel()
			return fmt.Errorf("it has ended: %w", d.err)
		default:
		}
		_, err := Fetch(ctx, d.Probes+"/readyz")
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, tail(d.Log, 2000))
	}
	return nil
}

// Fetch returns what a URL of the daemon's answers.
func Fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// LogTail returns the end of the daemon's log.
func (d *DaemonProcess) LogTail() string { return tail(d.Log, 4000) }

// Done is closed when the process has ended.
func (d *DaemonProcess) Done() <-chan struct{} { return d.done }

// Stop asks the daemon to end and waits for it; an error is a bad exit status, or having to be killed.
func (d *DaemonProcess) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the daemon: %w", err)
	}
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the daemon did not stop within 30 s"), d.Kill())
	}
	if d.err != nil {
		return fmt.Errorf("the daemon ended with %w; the end of its log:\n%s", d.err, tail(d.Log, 2000))
	}
	return nil
}

// Kill ends the daemon without giving it a chance to tidy up.
func (d *DaemonProcess) Kill() error {
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the daemon: %w", err)
	}
	<-d.done
	return nil
}

// RSS returns the daemon's resident memory in bytes, and the most that it ever was.
func (d *DaemonProcess) RSS() (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the daemon's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "VmRSS:" && f[0] != "VmHWM:" {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading the daemon's memory: %w", err)
		}
		if f[0] == "VmRSS:" {
			now = kib << 10
		} else {
			peak = kib << 10
		}
	}
	return now, peak, nil
}

// CPU returns the processor time that the daemon has used.
func (d *DaemonProcess) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the daemon's processor time: %w", err)
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 13 {
		return 0, errors.New("reading the daemon's processor time: /proc stat is short")
	}
	var ticks int64
	for _, field := range f[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the daemon's processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
