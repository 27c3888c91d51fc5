//go:build e2e

package redistest

import (
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// process is redis-server.
type process struct{ command *exec.Cmd }

func start(t *testing.T, address string) (string, implementation) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	require.NoError(t, err, "scripts/install-debian-packages installs it")
	if address == "" {
		port, err := stack.FreePort()
		require.NoError(t, err)
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	command := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()) //nolint:gosec,noctx // Debian has it in its PATH; Kill ends it.
	require.NoError(t, command.Start())
	return address, process{command}
}

func (p process) Pause(t *testing.T) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(syscall.SIGSTOP))
}

func (p process) Resume(t *testing.T) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(syscall.SIGCONT))
}

func (p process) Kill() {
	_ = p.command.Process.Kill() // It may have ended already.
	_ = p.command.Wait()
}
