package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// adminToken is that of a user who may do everything. There is nothing to
// protect: the server listens on loopback for as long as a test runs.
const adminToken = "the-token-of-the-administrator"

// Kubernetes is a real kube-apiserver with RBAC over an etcd, and nothing else:
// what controllers and kubelets would do, a test does itself.
type Kubernetes struct {
	// URL is that of the API server, CAFile the authority of its certificate.
	URL, CAFile string

	dir, path string
	command   Command
	etcd      *Process
	server    *Process
}

// StartKubernetes starts etcd of the system and the kube-apiserver at path, with
// all their files in a directory.
func StartKubernetes(ctx context.Context, path, dir string) (*Kubernetes, error) {
	etcdPath, err := exec.LookPath("etcd")
	if err != nil {
		return nil, fmt.Errorf("find etcd, which scripts/install-debian-packages installs: %w", err)
	}
	k := &Kubernetes{dir: dir, path: path}
	client, err := address(0)
	if err != nil {
		return nil, err
	}
	peer, err := address(0)
	if err != nil {
		return nil, err
	}
	k.etcd, err = Start(ctx, Command{
		Name: "etcd", Path: etcdPath, LogDir: dir, ReadyURL: "http://" + client + "/health",
		Arguments: []string{
			"--data-dir", filepath.Join(dir, "etcd"), "--log-level", "warn",
			"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + client,
			"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
			"--initial-cluster", "default=http://" + peer,
		},
	})
	if err != nil {
		return nil, err
	}
	if err = k.describe(client); err == nil {
		err = k.StartServer(ctx)
	}
	if err != nil {
		k.etcd.Kill()
		return nil, err
	}
	return k, nil
}

// describe makes certificates, keys and the command line.
func (k *Kubernetes) describe(etcd string) error {
	authority, err := NewAuthority()
	if err != nil {
		return err
	}
	k.CAFile = filepath.Join(k.dir, "kubernetes.crt")
	pair, err := authority.Issue(time.Now().Add(time.Hour), "127.0.0.1")
	if err != nil {
		return err
	}
	certificate, key, err := pair.Write(k.dir)
	if err != nil {
		return err
	}
	accounts, _, err := newKey()
	if err != nil {
		return err
	}
	accountsText, err := encodeKey(accounts)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&accounts.PublicKey)
	if err != nil {
		return fmt.Errorf("write the key of the service accounts: %w", err)
	}
	accountsKey, accountsPublic := filepath.Join(k.dir, "service-accounts.key"), filepath.Join(k.dir, "service-accounts.pub")
	if err := errors.Join(Replace(k.CAFile, authority.PEM), Replace(accountsKey, accountsText), Replace(accountsPublic, encode("PUBLIC KEY", public))); err != nil {
		return err
	}
	tokens := filepath.Join(k.dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+`,admin,1,"system:masters"`+"\n"), 0o600); err != nil {
		return err
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	k.URL = fmt.Sprintf("https://127.0.0.1:%d", port)
	client, err := trusting(k.CAFile)
	if err != nil {
		return err
	}
	k.command = Command{
		Name: "kube-apiserver", Path: k.path, LogDir: k.dir, ReadyURL: k.URL + "/readyz", ReadyClient: client,
		Arguments: []string{
			"--etcd-servers", "http://" + etcd, "--secure-port", fmt.Sprint(port), "--bind-address", "127.0.0.1",
			"--tls-cert-file", certificate, "--tls-private-key-file", key, "--cert-dir", k.dir,
			"--authorization-mode", "RBAC", "--token-auth-file", tokens,
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", accountsPublic,
			"--service-account-signing-key-file", accountsKey, "--service-cluster-ip-range", "10.96.0.0/16",
			// Nobody makes the ServiceAccounts that it would wait for, or the endpoints of itself.
			"--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none",
			"--shutdown-delay-duration", "0s", "--v", "1",
		},
	}
	return nil
}

// StartServer starts the API server again after StopServer, at the same address.
func (k *Kubernetes) StartServer(ctx context.Context) (err error) {
	k.server, err = Start(ctx, k.command)
	return err
}

// StopServer stops the API server, and leaves etcd with all that is in it.
func (k *Kubernetes) StopServer() { k.server.Kill() }

// Stop stops both. Nobody needs their data any more.
func (k *Kubernetes) Stop() {
	k.server.Kill()
	k.etcd.Kill()
}

// AdminToken is the token of a user who may do everything.
func (*Kubernetes) AdminToken() string { return adminToken }

// Kubeconfig writes a kubeconfig for a token and returns its path.
func (k *Kubernetes) Kubeconfig(name, token string) (string, error) {
	return writeYAML(k.dir, name+".kubeconfig", document{
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []document{{"name": "test", "cluster": document{"server": k.URL, "certificate-authority": k.CAFile}}},
		"users":    []document{{"name": "test", "user": document{"token": token}}},
		"contexts": []document{{"name": "test", "context": document{"cluster": "test", "user": "test"}}},
	})
}

// trusting returns a client that trusts the authority in a file.
func trusting(file string) (*http.Client, error) {
	text, err := os.ReadFile(file) //nolint:gosec // A file that was just written.
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}, nil
}
