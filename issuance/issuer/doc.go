// Package issuer holds who signs: one file per issuer type behind one small interface. An issuer is made from its spec for a
// single use; it keeps nothing. Private keys come from the Payloads that it is given, live, and are dropped after use.
package issuer
