package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Linux counts CPU time in /proc in hundredths of a second (USER_HZ) on every machine.
const ticksPerSecond = 100.0

// agent is the program under test, with all its children. It runs in a process group of its own and dies with us.
type agent struct {
	cmd       *exec.Cmd
	done      chan struct{} // closed when it has ended
	tree      []int
	treeAt    time.Time
	cpu, peak float64 // the highest seen: seconds, MiB
}

// startAgent runs a command pinned to one CPU (-1: not pinned); its output is appended to logFile.
func startAgent(cpu int, logFile string, env, command []string) (*agent, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := onCPU(cpu, cmd.Start); err != nil {
		return nil, err
	}
	a := &agent{cmd: cmd, done: make(chan struct{})}
	go func() { cmd.Wait(); close(a.done) }()
	return a, nil
}

type cpuSet [16]uint64

func affinity(call uintptr, set *cpuSet) error {
	_, _, e := syscall.RawSyscall(call, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
	if e != 0 {
		return e
	}
	return nil
}

// onCPU calls start on a thread that is allowed on that CPU alone; a child made there inherits it before its first
// instruction, so all threads that it ever makes are pinned too.
func onCPU(cpu int, start func() error) error {
	if cpu < 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only cpuSet
	if err := affinity(syscall.SYS_SCHED_GETAFFINITY, &before); err != nil {
		return err
	}
	only[cpu/64] = 1 << (cpu % 64)
	if err := affinity(syscall.SYS_SCHED_SETAFFINITY, &only); err != nil {
		return fmt.Errorf("cannot pin to CPU %d: %w", cpu, err)
	}
	defer affinity(syscall.SYS_SCHED_SETAFFINITY, &before)
	return start()
}

// pinSelf moves the whole harness to one CPU by starting itself again there; the Go runtime then sizes itself for one.
func pinSelf(cpu int) error {
	var now, only cpuSet
	if err := affinity(syscall.SYS_SCHED_GETAFFINITY, &now); err != nil || cpu < 0 {
		return err
	}
	only[cpu/64] = 1 << (cpu % 64)
	if now == only {
		return nil
	}
	runtime.LockOSThread()
	if err := affinity(syscall.SYS_SCHED_SETAFFINITY, &only); err != nil {
		return fmt.Errorf("cannot pin to CPU %d: %w", cpu, err)
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(path, os.Args, os.Environ())
}

func (a *agent) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// pids lists the process tree, looked up afresh when the last look is older than maxAge.
func (a *agent) pids(maxAge time.Duration) []int {
	if a.tree != nil && time.Since(a.treeAt) < maxAge {
		return a.tree
	}
	children := map[int][]int{}
	dir, _ := os.ReadDir("/proc")
	for _, d := range dir {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if f := statFields(pid); f != nil {
				parent, _ := strconv.Atoi(f[1])
				children[parent] = append(children[parent], pid)
			}
		}
	}
	tree := []int{a.cmd.Process.Pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	a.tree, a.treeAt = tree, time.Now()
	return tree
}

// statFields gives the fields of /proc/PID/stat from the third (state) on, or nil when the process is gone.
func statFields(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	s := string(b)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// sample reads CPU seconds (user and system; children that have ended are in their parent's count) and MiB in memory
// now, and keeps the peaks: VmHWM is the kernel's own, so nothing is missed between two samples.
func (a *agent) sample(maxAge time.Duration) (cpuSeconds, rssMiB float64) {
	var peak float64
	for _, pid := range a.pids(maxAge) {
		if f := statFields(pid); f != nil {
			for _, field := range f[11:15] {
				ticks, _ := strconv.ParseFloat(field, 64)
				cpuSeconds += ticks / ticksPerSecond
			}
		}
		peak += statusMiB(pid, "VmHWM:")
		rssMiB += statusMiB(pid, "VmRSS:")
	}
	a.cpu, a.peak = max(a.cpu, cpuSeconds), max(a.peak, peak)
	return a.cpu, rssMiB
}

func statusMiB(pid int, key string) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// kill ends the tree at once and waits for its end.
func (a *agent) kill() {
	pids := a.pids(0)
	syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL)
	for _, pid := range pids {
		if !a.ended() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	<-a.done
}

// stop asks the agent to end, and kills it when it has not after limit. It says how it ended, "" for well.
func (a *agent) stop(limit time.Duration) string {
	if a.ended() {
		return "the agent ended by itself: " + a.cmd.ProcessState.String()
	}
	syscall.Kill(-a.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-a.done:
	case <-time.After(limit):
		a.kill()
		return fmt.Sprintf("the agent did not end within %v of SIGTERM", limit)
	}
	if a.cmd.ProcessState.ExitCode() > 0 {
		return "after SIGTERM the agent ended with " + a.cmd.ProcessState.String()
	}
	return ""
}

func ownCPU() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// machineCPU gives the seconds that all cores have been busy, or taken away by the host, since boot.
func machineCPU() (seconds float64) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, field := range strings.Fields(line) {
		switch i { // 4 and 5 are idle and waiting for a disk; guests are counted in user
		case 1, 2, 3, 6, 7, 8:
			ticks, _ := strconv.ParseFloat(field, 64)
			seconds += ticks / ticksPerSecond
		}
	}
	return seconds
}
