// Package testenv runs a real control plane (etcd, kube-apiserver, kube-controller-manager) on free loopback ports and hands
// out identities on it.
//
//	build.sh ──binaries──▶ ControlPlane ──▶ Install (deploy/: CRDs, roles, the daemon's ServiceAccount)
//	                            │
//	                            ├─ Admin         cluster admin: what a person or a test does
//	                            └─ Daemon        the ServiceAccount's token with the shipped roles: what the daemon does
//
// Tests call Main from TestMain and then Admin, Namespace, Manager, Eventually. The demo, the benchmarks and `make up` use
// ControlPlane directly. Nothing under test is ever a member of system:masters: a rule missing in deploy/rbac fails a test.
package testenv
