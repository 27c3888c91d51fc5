//go:build e2e

package cluster

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// stage is one stage of a container file, with its files below a directory: there
// is no engine here, so its commands run on this machine, with the paths that
// they name moved there.
type stage struct {
	t           *testing.T
	base        string // what it is built from
	root        string
	directory   string // in the image
	environment []string
	user        string
	command     []string // entry point or command
}

// at is where a path of the image is.
func (s *stage) at(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(s.directory, name)
	}
	return filepath.Join(s.root, name)
}

// digest pins an image; nothing pulls it here.
const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// buildImage runs a container file of deploy/ step by step with build arguments,
// and returns its last stage. What it does not know it does not pass over.
func buildImage(t *testing.T, file, buildContext string, arguments map[string]string) *stage {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "deploy", file))
	require.NoError(t, err)
	stages := map[string]*stage{}
	var current *stage
	var declared []string // arguments in front of the first stage
	for line := range strings.SplitSeq(string(text), "\n") {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch instruction {
		case "", "#":
		case "FROM":
			directory, err := os.MkdirTemp(shared.dir, "image-")
			require.NoError(t, err)
			base := os.Expand(words[0], func(name string) string {
				require.Contains(t, declared, name)
				return arguments[name]
			})
			require.NotEmpty(t, base, "an engine refuses a stage without a name: %s", line)
			current = &stage{t: t, base: base, root: directory, directory: "/"}
			if len(words) == 3 && words[1] == "AS" {
				stages[words[2]] = current
			}
		case "ARG":
			if current == nil {
				declared = append(declared, words[0])
			} else {
				current.environment = append(current.environment, words[0]+"="+arguments[words[0]])
			}
		case "ENV":
			current.environment = append(current.environment, words...)
		case "WORKDIR":
			current.directory = words[0]
			require.NoError(t, os.MkdirAll(current.at("."), 0o755))
		case "COPY":
			if from, found := strings.CutPrefix(words[0], "--from="); found {
				current.copyFrom(stages[from], words[1], words[2])
			} else {
				current.copyContext(buildContext, words[:len(words)-1], words[len(words)-1])
			}
		case "RUN":
			current.run(rest)
		case "USER":
			current.user = words[0]
		case "EXPOSE":
			require.Equal(t, "9190", rest, "the default of tierproxy")
		case "ENTRYPOINT", "CMD":
			require.NoError(t, json.Unmarshal([]byte(rest), &current.command), rest)
		default:
			t.Fatalf("%s: the test does not know the instruction %q", file, line)
		}
	}
	return current
}

// copyContext copies what git knows of the checkout, or files of a directory.
func (s *stage) copyContext(buildContext string, patterns []string, to string) {
	s.t.Helper()
	for _, pattern := range patterns {
		var names []string
		if pattern == "." {
			output, err := exec.CommandContext(s.t.Context(), "git", "-C", buildContext, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
			require.NoError(s.t, err)
			names = strings.FieldsFunc(string(output), func(r rune) bool { return r == 0 })
		} else {
			found, err := filepath.Glob(filepath.Join(buildContext, pattern))
			require.NoError(s.t, err)
			for _, each := range found {
				names = append(names, filepath.Base(each))
			}
		}
		require.NotEmpty(s.t, names, "nothing to copy for %q", pattern)
		for _, name := range names {
			copyFile(s.t, filepath.Join(buildContext, name), filepath.Join(s.at(to), name))
		}
	}
}

// copyFrom copies a file of another stage, or one that the stage was built from:
// the images of Go are Debian, as this machine is.
func (s *stage) copyFrom(from *stage, name, to string) {
	s.t.Helper()
	source := from.at(name)
	if _, err := os.Stat(source); err != nil {
		require.True(s.t, strings.HasPrefix(name, "/etc/"), "%s is in no stage", name)
		source = name
	}
	copyFile(s.t, source, s.at(to))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	require.NoError(t, err)
	content, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, content, info.Mode().Perm()))
}

// run runs a command in the shell, with the absolute paths that it names below
// the directory of the stage.
func (s *stage) run(command string) {
	s.t.Helper()
	words := strings.Split(command, " ")
	for i, word := range words {
		if path.IsAbs(word) {
			words[i] = s.root + word // As it is written: cp minds an ending of /.
		}
	}
	running := exec.CommandContext(s.t.Context(), "/bin/sh", "-c", strings.Join(words, " "))
	running.Dir, running.Env = s.at("."), append(os.Environ(), s.environment...)
	output, err := running.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", command, output)
}

// TestContainerfile_TierproxyIsAStaticProgram runs the steps of the container file.
// They leave a static program that tells its version, and authorities, and nothing
// else.
func TestContainerfile_TierproxyIsAStaticProgram(t *testing.T) {
	root, err := stack.Root()
	require.NoError(t, err)
	image := buildImage(t, "Containerfile", root, goImage())
	require.Equal(t, "scratch", image.base)
	require.Equal(t, "65532:65532", image.user)
	require.Equal(t, []string{"/tierproxy"}, image.command)
	var files []string
	require.NoError(t, filepath.WalkDir(image.root, func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(name, image.root))
		}
		return err
	}))
	require.Equal(t, []string{"/etc/ssl/certs/ca-certificates.crt", "/tierproxy"}, files)
	requireStatic(t, image.at("/tierproxy"))
	output, err := exec.CommandContext(t.Context(), image.at("/tierproxy"), "--version").CombinedOutput()
	require.NoError(t, err, string(output))
	require.Regexp(t, `^tierproxy, version \d+\.\d+\.\d+`, string(output))

	for _, file := range []string{"deploy/Containerfile", "docs/installation.md"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.Contains(t, string(text), "podman pull golang:"+strings.TrimPrefix(runtime.Version(), "go")+"\n", "the Go of the tests")
	}
}

// goImage is the argument with the image that builds tierproxy.
func goImage() map[string]string { return map[string]string{"GO_IMAGE": "golang" + digest} }

// requireStatic checks that a program needs no loader.
func requireStatic(t *testing.T, file string) {
	t.Helper()
	binary, err := elf.Open(file)
	require.NoError(t, err)
	defer func() { _ = binary.Close() }()
	for _, each := range binary.Progs {
		require.NotEqual(t, elf.PT_INTERP, each.Type, "the program is static: the image holds no loader")
	}
}

// TestContainerfile_PluginCopiesTheArchive copies the archive as the init container
// does.
func TestContainerfile_PluginCopiesTheArchive(t *testing.T) {
	lines, err := stack.Script(t.Context(), os.Stderr, "scripts/plugin")
	require.NoError(t, err)
	archive := lines[len(lines)-1]
	image := buildImage(t, "Containerfile.plugin", filepath.Dir(archive), map[string]string{"BUSYBOX_IMAGE": "busybox" + digest})
	require.Equal(t, "65532:65532", image.user)
	require.NoError(t, os.Mkdir(image.at("/plugins-archive"), 0o755)) // The volume.
	image.run(strings.Join(image.command, " "))
	expected, err := os.ReadFile(archive)
	require.NoError(t, err)
	copied, err := os.ReadFile(image.at(filepath.Join("/plugins-archive", filepath.Base(archive))))
	require.NoError(t, err)
	require.Equal(t, expected, copied)
}
