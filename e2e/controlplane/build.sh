#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kube-controller-manager from their Go modules, once per version, outside the checkout,
# and prints the directory that holds them. envtest reads that directory as KUBEBUILDER_ASSETS; whoever has envtest's
# own binaries can set that variable instead and skip this build.
set -euo pipefail
cd "$(dirname "$0")"

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/kube-controller-manager" ]; then
	echo "$KUBEBUILDER_ASSETS"
	exit 0
fi

version_of() { awk -v m="$1" '$1 == m && $2 ~ /^v/ { print $2; exit }' go.mod; }
kube=$(version_of k8s.io/kubernetes)
etcd=$(version_of go.etcd.io/etcd/server/v3)
cache=${TRUSTGLASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trustglass}
dir=$cache/controlplane/kubernetes-$kube-etcd-$etcd-$(go env GOOS)-$(go env GOARCH)

complete() { [ -x "$dir/etcd" ] && [ -x "$dir/kube-apiserver" ] && [ -x "$dir/kube-controller-manager" ]; }
if complete; then
	echo "$dir"
	exit 0
fi

echo "Building the control plane (kube-apiserver $kube, etcd $etcd) once into $dir" >&2
echo "This takes about 5 minutes on 2 cores and some 2 GB of disk for modules and build cache." >&2
mkdir -p "$dir"
part=$(mktemp -d "$dir/.part.XXXXXX")
trap 'rm -rf "$part"' EXIT

# Without the version stamp the API server takes itself for v0.0.0 and turns features off.
minor=${kube#v1.}
minor=${minor%%.*}
v=k8s.io/component-base/version
stamp="-s -w -X $v.gitVersion=$kube -X $v.gitMajor=1 -X $v.gitMinor=$minor -X $v.gitTreeState=archive"

# go build -v prints a line per compiled package; a counter of them is the progress shown.
progress() {
	if [ -t 2 ]; then
		awk '{ printf "\r  %5d packages compiled", ++n > "/dev/stderr" } END { if (n) printf "\n" > "/dev/stderr" }'
	else
		awk '++n % 200 == 0 { printf "  %5d packages compiled\n", n > "/dev/stderr"; fflush("/dev/stderr") }'
	fi
}
build() { # name, package
	echo "  $1 ($2)" >&2
	local log=$part/$1.log
	if ! CGO_ENABLED=0 go build -mod=readonly -v -trimpath -ldflags "$stamp" -o "$part/$1" "$2" 2>&1 | tee "$log" | progress; then
		echo "building $1 failed:" >&2
		grep -v '^[a-z0-9./_-]*$' "$log" | tail -n 40 >&2
		exit 1
	fi
	mv "$part/$1" "$dir/$1"
}
go mod download >&2
build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
echo "$dir"
