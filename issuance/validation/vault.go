package validation

import (
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func (f *findings) vault(v *cmapi.VaultIssuer) {
	f.needs(v.Server, "must be the address of the Vault server", "vault", "server")
	if v.Server != "" {
		f.url(v.Server, "vault", "server")
	}
	f.needs(v.Path, "must be the path that signs, such as pki/sign/role", "vault", "path")
	f.apiPath(v.Path, "vault", "path")
	f.bundle(v.CABundle, v.CABundleSecretRef, "vault")
	switch cert, key := v.ClientCertSecretRef, v.ClientKeySecretRef; {
	case cert != nil && key == nil:
		f.required("must be set together with clientCertSecretRef", "vault", "clientKeySecretRef")
	case cert == nil && key != nil:
		f.required("must be set together with clientKeySecretRef", "vault", "clientCertSecretRef")
	case cert != nil:
		f.secretRef(cert, "vault", "clientCertSecretRef")
		f.secretRef(key, "vault", "clientKeySecretRef")
	}
	f.vaultAuth(&v.Auth)
}

// vaultAuth checks every way to log in that is configured. Which one of several is used is not decided here: as with the incumbent,
// that is told by the issuer's condition.
func (f *findings) vaultAuth(auth *cmapi.VaultAuth) {
	if auth.TokenSecretRef == nil && auth.AppRole == nil && auth.ClientCertificate == nil && auth.Kubernetes == nil && auth.AWS == nil {
		f.required("must say how to log in: tokenSecretRef, appRole, clientCertificate, kubernetes or aws", "vault", "auth")
	}
	if auth.TokenSecretRef != nil {
		f.secretRef(auth.TokenSecretRef, "vault", "auth", "tokenSecretRef")
	}
	if r := auth.AppRole; r != nil {
		f.needs(r.RoleId, "must be the role's id", "vault", "auth", "appRole", "roleId")
		f.secretRef(&r.SecretRef, "vault", "auth", "appRole", "secretRef")
		f.apiPath(r.Path, "vault", "auth", "appRole", "path")
	}
	if c := auth.ClientCertificate; c != nil {
		f.apiPath(c.Path, "vault", "auth", "clientCertificate", "mountPath")
	}
	if k := auth.Kubernetes; k != nil {
		f.vaultKubernetes(k)
	}
	if a := auth.AWS; a != nil {
		f.needs(a.Role, "must be the role to log in as", "vault", "auth", "aws", "role")
		f.apiPath(a.MountPath, "vault", "auth", "aws", "mountPath")
		if a.ServiceAccountRef != nil {
			f.needs(a.ServiceAccountRef.Name, "must name a ServiceAccount", "vault", "auth", "aws", "serviceAccountRef", "name")
			f.needs(a.IAMRoleARN, "must be set together with serviceAccountRef", "vault", "auth", "aws", "iamRoleArn")
		}
	}
}

func (f *findings) vaultKubernetes(k *cmapi.VaultKubernetesAuth) {
	path := []any{"vault", "auth", "kubernetes"}
	f.needs(k.Role, "must be the role to log in as", "vault", "auth", "kubernetes", "role")
	f.apiPath(k.Path, "vault", "auth", "kubernetes", "mountPath")
	f.oneOf("must name the identity to log in with: secretRef or serviceAccountRef", path,
		choice{"secretRef", k.SecretRef.Name != ""}, choice{"serviceAccountRef", k.ServiceAccountRef != nil})
	if k.ServiceAccountRef != nil {
		f.needs(k.ServiceAccountRef.Name, "must name a ServiceAccount", "vault", "auth", "kubernetes", "serviceAccountRef", "name")
	}
}
