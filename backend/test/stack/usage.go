package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU returns how long the process has been computing, its threads together.
func (p *Process) CPU() (time.Duration, error) { return CPU(p.PID()) }

// CPU returns how long a process has been computing, its threads together, as
// the scheduler has it: to the nanosecond, where /proc/PID/stat counts in
// hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("read the CPU time of process %d: it is gone", pid)
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // Of the kernel.
		if err != nil {
			continue // The thread has just ended.
		}
		first, _, _ := strings.Cut(string(text), " ")
		nanoseconds, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		total += time.Duration(nanoseconds)
	}
	return total, nil
}

// Memory is how much memory a process holds, in bytes.
type Memory struct {
	// Resident is what it holds now, Peak the most that it has held.
	Resident, Peak int64
}

// ForgetPeak makes what the process holds now the most that it has held.
func (p *Process) ForgetPeak() error {
	const peak = "5" // See proc(5), /proc/PID/clear_refs.
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte(peak), 0)
}

// Memory returns how much memory the process holds.
func (p *Process) Memory() (Memory, error) { return MemoryOf(p.PID()) }

// MemoryOf returns how much memory a process holds.
func MemoryOf(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	var found Memory
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return found, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		switch fields[0] {
		case "VmRSS:":
			found.Resident = kilobytes << 10
		case "VmHWM:":
			found.Peak = kilobytes << 10
		}
	}
	return found, nil
}
