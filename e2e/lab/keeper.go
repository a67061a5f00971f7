package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// keeper is the process that `up` leaves running, told by its files. One that runs holds a lock on a file with its process id: an id
// alone may be somebody else's by now, while a lock goes with its process, however that ends.
type keeper struct {
	// state is the path of the file that says, once the daemon is ready, where the admin's kubeconfig is.
	state string
}

func findKeeper() (keeper, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return keeper{}, fmt.Errorf("finding the cache directory: %w", err)
	}
	dir = filepath.Join(dir, "trustglass")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keeper{}, fmt.Errorf("creating the cache directory: %w", err)
	}
	return keeper{filepath.Join(dir, "up")}, nil
}

func (k keeper) log() string { return k.state + ".log" }

func (k keeper) lock() (*os.File, error) {
	f, err := os.OpenFile(k.state+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of what is running: %w", err)
	}
	return f, nil
}

// claim makes this process the keeper until it closes the file, or ends.
func (k keeper) claim(ctx context.Context) (*os.File, error) {
	f, err := k.lock()
	if err != nil {
		return nil, err
	}
	// Who looks whether there is a keeper holds the lock for a moment.
	err = eventually(ctx, time.Second, func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if err == nil {
		_ = os.Remove(k.state) // of a keeper that was killed
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("another keeper is running: %w", err), f.Close())
	}
	return f, nil
}

// running returns the keeper's process id; 0 when there is none.
func (k keeper) running() (pid int, err error) {
	f, err := k.lock()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, fmt.Errorf("looking whether anything is running: %w", err)
	}
	err = eventually(context.Background(), time.Second, func() (err error) { // it has the lock a moment before it says who it is
		text, err := os.ReadFile(f.Name())
		if err == nil {
			pid, err = strconv.Atoi(string(text))
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reading which process is running from %s: %w", f.Name(), err)
	}
	return pid, nil
}

// start starts a keeper; ended is closed when it has ended.
func (k keeper) start() (ended <-chan struct{}, process *os.Process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("finding this program: %w", err)
	}
	logs, err := os.Create(k.log())
	if err != nil {
		return nil, nil, fmt.Errorf("creating the log: %w", err)
	}
	defer logs.Close()
	cmd := exec.Command(self, "serve", k.state)
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting in the background: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return done, cmd.Process, nil
}

// awaitReady waits until a keeper's daemon is ready and returns the admin's kubeconfig.
func (k keeper) awaitReady(ctx context.Context) (kubeconfig string, err error) {
	err = eventually(ctx, time.Minute, func() error {
		pid, err := k.running()
		if err == nil && pid == 0 {
			err = errors.New("not running yet")
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(k.state)
		if err == nil && len(text) == 0 {
			err = errors.New("not ready yet")
		}
		kubeconfig = string(text)
		return err
	})
	return kubeconfig, err
}
