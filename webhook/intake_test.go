package webhook

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// observed is a body that tells before each read how much has been taken for what was read so far.
type observed struct {
	io.Reader
	read  int64
	check func(read int64)
}

func (o *observed) Read(p []byte) (int, error) {
	o.check(o.read)
	n, err := o.Reader.Read(p)
	o.read += int64(n)
	return n, err
}

// Room is taken for what has arrived, and twice as much at most: nothing for a body of which nothing has.
func TestRoomIsTakenAsBytesArrive(t *testing.T) {
	for _, tc := range []struct {
		reason          string
		size, announced int64
		taken           int64
	}{
		{"a small one", 500, 500, 0},
		{"a usual one", 10_000, 10_000, 10_001},
		{"a usual one, unannounced", 10_000, -1, bodyStep},
		{"a large one", MaxBodyBytes, MaxBodyBytes, MaxBodyBytes + 1},
		{"a large one, unannounced", MaxBodyBytes, -1, MaxBodyBytes + 1},
		{"less than announced", 1000, MaxBodyBytes, bodyStep},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			room := &share{of: newIntake(maxPendingBytes, time.Minute)}
			body := &observed{Reader: io.LimitReader(spaces{}, tc.size), check: func(read int64) {
				if room.taken > max(2*read, bodyStep) || read == 0 && room.taken > 0 {
					t.Errorf("%d bytes are taken for %d", room.taken, read)
				}
			}}
			req := httptest.NewRequest("POST", PathValidate, body)
			req.ContentLength = tc.announced
			got, code, err := room.body(t.Context(), httptest.NewRecorder(), req)
			if err != nil || int64(len(got)) != tc.size || room.taken != tc.taken {
				t.Errorf("read %d, taken %d, %d %v", len(got), room.taken, code, err)
			}
			room.release()
			if !room.of.budget.TryAcquire(maxPendingBytes) || len(room.of.beyond) > 0 {
				t.Error("not all is given back")
			}
		})
	}
}

// Bodies that together do not fit are read one after the other, as long as they have time; then they are turned away.
func TestCrowdedIntake(t *testing.T) {
	crowd := func(in *intake) (failures []error) {
		var mu sync.Mutex // guards failures
		var all, halfway sync.WaitGroup
		halfway.Add(4)
		for range 4 {
			all.Go(func() {
				room := &share{of: in}
				defer room.release()
				var once sync.Once
				body := &observed{Reader: io.LimitReader(spaces{}, 4*bodyStep), check: func(read int64) {
					if read > 0 {
						once.Do(func() { halfway.Done(); halfway.Wait() }) // each has its first step when each needs more
					}
				}}
				req := httptest.NewRequest("POST", PathValidate, body)
				if _, code, err := room.body(t.Context(), httptest.NewRecorder(), req); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, fmt.Errorf("%d %w", code, err))
				}
			})
		}
		all.Wait()
		return failures
	}
	in := newIntake(4*bodyStep, time.Minute)
	if failures := crowd(in); len(failures) > 0 {
		t.Errorf("with time: %v", failures)
	}
	if !in.budget.TryAcquire(4 * bodyStep) {
		t.Fatal("not all is given back")
	}
	in.timeout = time.Millisecond
	read := func(size int64) (code int, err error) {
		req := httptest.NewRequest("POST", PathValidate, io.LimitReader(spaces{}, size))
		_, code, err = (&share{of: in}).body(t.Context(), httptest.NewRecorder(), req)
		return code, err
	}
	code, err := read(bodyStep)
	if code != http.StatusServiceUnavailable || err == nil {
		t.Errorf("a first step without room: %d %v", code, err)
	}
	in.budget.Release(bodyStep)
	in.beyond <- struct{}{}
	code, err = read(2 * bodyStep)
	if code != http.StatusServiceUnavailable || err == nil {
		t.Errorf("a second step without room: %d %v", code, err)
	}
}

// A body that does not arrive ends in its time; one that did may be judged for longer than that.
func TestBodyInTime(t *testing.T) {
	in := newIntake(maxPendingBytes, 50*time.Millisecond)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		room := &share{of: in}
		defer room.release()
		if _, code, err := room.body(r.Context(), w, r); err != nil {
			http.Error(w, err.Error(), code)
			return
		}
		select {
		case <-r.Context().Done():
			http.Error(w, "ended while it was judged", http.StatusInternalServerError)
		case <-time.After(4 * in.timeout):
		}
	})
	server, second := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	defer server.Close()
	second.EnableHTTP2 = true // as API servers speak it
	second.StartTLS()
	defer second.Close()
	for _, server := range []*httptest.Server{server, second} {
		httpClient := server.Client()
		httpClient.Timeout = 20 * time.Second
		post := func(body io.Reader) (proto string, code int, text string) {
			t.Helper()
			resp, err := httpClient.Post(server.URL, "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var b bytes.Buffer
			if _, err := b.ReadFrom(resp.Body); err != nil {
				t.Fatal(err)
			}
			return resp.Proto, resp.StatusCode, b.String()
		}
		unended, w := io.Pipe()
		go func() { _, _ = w.Write([]byte("a")) }()
		if proto, code, text := post(unended); code != http.StatusBadRequest || text != "the body could not be read\n" {
			t.Errorf("a body that does not arrive by %s: %d %s", proto, code, text)
		}
		w.Close()
		if proto, code, text := post(strings.NewReader("{}")); code != http.StatusOK {
			t.Errorf("a long judgement by %s: %d %s", proto, code, text)
		}
	}
}
