// Package stack runs real servers as child processes on loopback: Perses,
// Prometheus, Thanos and tierproxy. The end-to-end tests and the demo use it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// StopGrace is how long Stop waits for a process before it kills it.
const StopGrace = 40 * time.Second

// readyTimeout bounds how long a server may take to become ready.
const readyTimeout = 60 * time.Second

// Command says how to start a process.
type Command struct {
	// Name is that of the process in errors and of its log file.
	Name string
	// Path is the program, Arguments what follows it.
	Path      string
	Arguments []string
	// Environment is added to that of this process.
	Environment []string
	// LogDir is the directory of the log file.
	LogDir string
	// ReadyURL answers with a 2xx status once the process is ready. Empty:
	// the process counts as ready once it has started.
	ReadyURL string
	// ReadyClient asks it; nil means the default one.
	ReadyClient *http.Client
}

// Process is a running child process. It is killed when this process dies.
type Process struct {
	// LogFile holds what the process printed.
	LogFile string

	name    string
	command *exec.Cmd
	done    chan struct{} // closed when the process has ended
	exit    error         // how it ended; valid once done is closed
}

// Start starts a process and waits until it is ready. When it ends before
// that, or takes longer than a minute, the error shows the end of its log.
func Start(ctx context.Context, command Command) (*Process, error) {
	logFile, err := os.OpenFile(filepath.Join(command.LogDir, command.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", command.Name, err)
	}
	defer func() { _ = logFile.Close() }()
	p := &Process{name: command.Name, LogFile: logFile.Name(), done: make(chan struct{})}
	p.command = exec.Command(command.Path, command.Arguments...) //nolint:gosec,noctx // Tests name the programs; Stop ends them.
	p.command.Env = append(os.Environ(), command.Environment...)
	p.command.Stdout, p.command.Stderr = logFile, logFile
	// A group of its own: Ctrl-C at the terminal must reach us alone, so that
	// processes are stopped in order. Setpgid and Pdeathsig go together.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Name, err)
	}
	go func() {
		p.exit = p.command.Wait()
		close(p.done)
	}()
	if command.ReadyURL == "" {
		return p, nil
	}
	client := command.ReadyClient
	if client == nil {
		client = http.DefaultClient
	}
	if err := p.waitReady(ctx, client, command.ReadyURL); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w\n%s", err, p.LogTail())
	}
	return p, nil
}

func (p *Process) waitReady(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if status, _, err := get(ctx, client, url, nil); err == nil && status < http.StatusMultipleChoices {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w", p.name, errors.Join(errors.New("its log follows"), p.exit))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", p.name, ctx.Err())
		case <-ticker.C:
		}
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Interrupt sends SIGTERM and does not wait.
func (p *Process) Interrupt() error { return p.command.Process.Signal(syscall.SIGTERM) }

// Stop sends SIGTERM and waits; after StopGrace it kills. It returns how the
// process ended: nil for exit status 0.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return p.exit
	default:
	}
	if err := p.Interrupt(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return p.exit
	case <-time.After(StopGrace):
		p.Kill()
		return fmt.Errorf("%s did not stop within %s", p.name, StopGrace)
	}
}

// Kill ends the process without giving it a chance, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // It may have ended already.
	<-p.done
}

// OpenFiles returns the number of file descriptors that the process has open.
func (p *Process) OpenFiles() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("count the open files of %s: %w", p.name, err)
	}
	return len(entries), nil
}

// LogTail returns the end of what the process printed.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	const keep = 4000
	if len(text) > keep {
		text = text[len(text)-keep:]
	}
	return string(text)
}

// FreePort returns a TCP port of loopback that nothing listens on.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // Returns at once.
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	address, _ := listener.Addr().(*net.TCPAddr)
	return address.Port, nil
}

// Get makes a GET request with the given headers and returns status and body.
func Get(ctx context.Context, url string, header http.Header) (int, []byte, error) {
	return get(ctx, http.DefaultClient, url, header)
}

func get(ctx context.Context, client *http.Client, url string, header http.Header) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("make the request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// Root returns the root of the checkout: the directory of the main go.mod
// above the working directory.
func Root() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(directory, "go.mod")) //nolint:gosec // Our own checkout.
		if err == nil && strings.HasPrefix(string(text), "module github.com/tiered-prometheus/tiered-prometheus\n") {
			return directory, nil
		}
		parent := filepath.Dir(directory)
		if parent == directory {
			return "", errors.New("find the checkout: run this inside of it")
		}
		directory = parent
	}
}

// Script runs a script of the checkout, its progress shown on progress, and
// returns the lines that it printed.
func Script(ctx context.Context, progress io.Writer, arguments ...string) ([]string, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, filepath.Join(root, arguments[0]), arguments[1:]...) //nolint:gosec // Our own script.
	command.Dir, command.Stderr = root, progress
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", strings.Join(arguments, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n"), nil
}

// Tool returns the path of a program that scripts/tool builds.
func Tool(ctx context.Context, progress io.Writer, name string) (string, error) {
	lines, err := Script(ctx, progress, "scripts/tool", name)
	if err != nil {
		return "", err
	}
	return lines[len(lines)-1], nil
}
