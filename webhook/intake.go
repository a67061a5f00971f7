package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// MaxBodyBytes is the largest admission request that is read: an object and its former self, each as large as etcd takes them.
	MaxBodyBytes = 3 << 20
	// maxPendingBytes bounds the bodies that are in memory at a time.
	maxPendingBytes = 32 << 20
	// bodyStep is how much of that a body takes with its first bytes, and most never need more; then its room is doubled as it fills.
	bodyStep = 64 << 10
	// bodyTimeout bounds how long a body may take to arrive. An API server sends it at once.
	bodyTimeout = 3 * time.Second
)

// intake reads bodies, and bounds those that are in memory at a time. Room is taken as bytes arrive, so that whoever announces much and
// sends nothing keeps it from nobody.
type intake struct {
	budget *semaphore.Weighted
	// beyond is held by the one body that goes on although the budget is spent: of many that each have a part of it, none could be
	// completed otherwise.
	beyond  chan struct{}
	timeout time.Duration
}

func newIntake(bytes int64, timeout time.Duration) *intake {
	return &intake{budget: semaphore.NewWeighted(bytes), beyond: make(chan struct{}, 1), timeout: timeout}
}

// share is the part of an intake that one body has taken.
type share struct {
	of     *intake
	taken  int64
	beyond bool
}

var errNoRoom = errors.New("too many requests at a time")

// grow makes the share size bytes large. It waits as long as it holds nothing; who holds something waits only to be the one beyond.
func (s *share) grow(ctx context.Context, size int64) error {
	more := size - s.taken
	switch {
	case s.beyond:
		return nil
	case s.of.budget.TryAcquire(more):
	case s.taken == 0:
		if s.of.budget.Acquire(ctx, more) != nil {
			return errNoRoom
		}
	default:
		select {
		case s.of.beyond <- struct{}{}:
			s.beyond = true
			return nil
		case <-ctx.Done():
			return errNoRoom
		}
	}
	s.taken = size
	return nil
}

// release gives everything back. What was read must not be used any more.
func (s *share) release() {
	s.of.budget.Release(s.taken)
	if s.beyond {
		<-s.of.beyond
	}
	s.taken, s.beyond = 0, false
}

// body reads a request's body. On an error, code is what to answer.
func (s *share) body(ctx context.Context, w http.ResponseWriter, r *http.Request) (_ []byte, code int, err error) {
	limit := int64(MaxBodyBytes)
	if r.ContentLength > limit {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("%d bytes are more than the %d allowed", r.ContentLength, limit)
	}
	if r.ContentLength >= 0 {
		limit = r.ContentLength
	}
	ctx, cancel := context.WithTimeout(ctx, s.of.timeout)
	defer cancel()
	// It concerns reading alone: a request that is complete may be judged for longer. Where none can be set the server's own holds.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.of.timeout))
	body, err := s.fill(ctx, http.MaxBytesReader(w, r.Body, limit), limit)
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, 0, nil
	case errors.Is(err, errNoRoom):
		return nil, http.StatusServiceUnavailable, err
	case errors.As(err, &large):
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than the %d bytes allowed", large.Limit)
	}
	return nil, http.StatusBadRequest, errors.New("the body could not be read")
}

// fill reads to the end of r, which comes after limit bytes at most.
func (s *share) fill(ctx context.Context, r io.Reader, limit int64) ([]byte, error) {
	buf := make([]byte, 0, min(512, limit+1)) // the first bytes are read before room is taken
	for {
		if len(buf) == cap(buf) {
			size := min(max(bodyStep, 2*int64(cap(buf))), limit+1)
			if err := s.grow(ctx, size); err != nil {
				return nil, err
			}
			buf = append(make([]byte, 0, size), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
