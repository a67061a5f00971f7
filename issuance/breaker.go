package issuance

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

const (
	// loopCount issuances of one unchanged spec within loopSpan are a loop: somebody undoes them.
	loopCount = 10
	loopSpan  = 10 * time.Minute
	// loopPause is how long nothing is issued then.
	loopPause = time.Hour

	reasonLoop = "IssuanceLoop"
)

// breaker counts issuances, so that two writers of one Secret don't issue against each other for ever. It counts in memory: a
// restart begins anew, which bounds what a loop costs all the same. The zero value is ready.
type breaker struct {
	mu    sync.Mutex
	m     map[types.UID]issuances // guarded by mu
	swept time.Time               // guarded by mu
}

type issuances struct {
	generation int64
	at         []time.Time // the last loopCount
}

// record notes an issuance of a Certificate.
func (b *breaker) record(cert *cmapi.Certificate, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[types.UID]issuances{}
	}
	run := b.m[cert.UID]
	if run.generation != cert.Generation {
		run = issuances{generation: cert.Generation}
	}
	if run.at = append(run.at, now); len(run.at) > loopCount {
		run.at = run.at[1:]
	}
	b.m[cert.UID] = run
	b.sweep(now)
}

// sweep forgets, once in loopSpan, what happened so long ago that it is no loop.
func (b *breaker) sweep(now time.Time) {
	if now.Sub(b.swept) < loopSpan {
		return
	}
	b.swept = now
	for uid, run := range b.m {
		if now.Sub(run.at[len(run.at)-1]) > loopPause {
			delete(b.m, uid)
		}
	}
}

// until returns when a Certificate may be issued again; zero if nothing stands against it.
func (b *breaker) until(cert *cmapi.Certificate) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	run := b.m[cert.UID]
	if run.generation != cert.Generation || len(run.at) < loopCount {
		return time.Time{}
	}
	if last := run.at[loopCount-1]; last.Sub(run.at[0]) <= loopSpan {
		return last.Add(loopPause)
	}
	return time.Time{}
}

// loopMessage says what goes round and who may be behind it.
func loopMessage(s State, why string) string {
	text := fmt.Sprintf("The certificate was issued %d times within %s and something undid it each time; the last reason: %s", loopCount, loopSpan, why)
	if s.Secret != nil && s.Secret.OtherWriter != "" {
		return text + fmt.Sprintf(". %q writes Secret %s too: stop it or give this Certificate a secretName of its own", s.Secret.OtherWriter, s.Cert.Spec.SecretName)
	}
	return text + ". Find out who else writes or deletes Secret " + s.Cert.Spec.SecretName
}
