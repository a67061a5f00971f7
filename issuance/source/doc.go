// Package source makes a Certificate for every Secret that an Ingress wants TLS from, and where that is turned on a Gateway or a
// ListenerSet, when its annotations ask for it.
//
//	Ingress ────────┐                             ┌─ Create, Update, Delete ──apply──▶ Certificate
//	Gateway ────────┼──parse──▶ Source ──plan──▶──┤
//	ListenerSet ────┘      ▲    Certificates      └─ Refuse ──────────report──▶ Event on the source
//	 (and its Gateway)     │    Secrets in the way
//	                 annotations.go, template.go, entries.go
//
// There is one Reconciler for each kind. It plans on the cache; a plan that writes is made once more on what the API server has
// at that moment, so that a cache which lags behind causes neither a second write nor a wrong one. Certificates and their
// annotations, field managers and Event reasons are those of cert-manager's shims: what those have made needs no write.
//
// Invariants:
//   - A Certificate that the source does not control is never changed, whatever its name: the source gets an Event.
//   - A source whose annotations can't be followed is frozen: an Event BadConfig names each of them, nothing is created, changed
//     or deleted. An entry of its spec that can't be followed is left out, and the Certificate that it may have stays.
//   - A source that asks for nothing, any more or ever, is left alone with all that it has. Its Certificates go when it goes, by
//     their owner reference.
//   - What somebody else has added to a Certificate stays: a field or label that the source does not ask for is taken away only
//     where our field manager owns it.
//   - Who may edit a source may not spread Secrets by it: a secret-template with keys that reflectors act on is refused
//     (template.go). Nor may it lead to a Secret that holds something else than this source's certificate (secrets.go).
//   - A Certificate that could not be issued is not made: what admission would say of it is said of the source.
//
// A Gateway API whose CRDs are not there when the daemon starts is said so in the log, and nothing else depends on it. Of a
// cached object this package needs the metadata, an Ingress's spec.tls, and a Gateway's and ListenerSet's spec; of its
// Certificates the managedFields only if they are there: where the cache drops them they are read when they matter, and what came of
// that is remembered until something changes.
package source
