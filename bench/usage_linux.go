package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// residentMax returns the most memory that an ended process had resident, in
// bytes, or its parent at its start if that was more.
func residentMax(p *os.ProcessState) int64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return int64(usage.Maxrss) * 1024
}

// ownResidentMax is the most that this process had.
func ownResidentMax() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return int64(usage.Maxrss) * 1024
}

// residentPeak returns the most memory that a running process had resident so
// far, in bytes; 0 if it is gone.
func residentPeak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(text, []byte("VmHWM:"))
	var kilobytes int64
	fmt.Sscan(string(after), &kilobytes) // a zombie has no such line: 0
	return kilobytes * 1024
}

// clockTick is the unit of processor times in /proc: USER_HZ, 100 on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// serverCPU returns the processor time that a server has used so far: its
// postmaster, the processes that run, and those that have ended. It looks again
// if one ended meanwhile, which would count twice or not at all.
func serverCPU(postmaster int) (time.Duration, error) {
	before, err := readTimes(postmaster)
	for err == nil {
		running := childrenCPU(postmaster)
		var after times
		if after, err = readTimes(postmaster); after.ended == before.ended {
			return after.self + after.ended + running, err
		}
		before = after
	}
	return 0, fmt.Errorf("processor time of the server: %w", err)
}

func childrenCPU(parent int) time.Duration {
	var total time.Duration
	all, _ := filepath.Glob("/proc/[0-9]*") // its only error is a bad pattern
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if t, err := readTimes(pid); err == nil && t.parent == parent {
			total += t.self
		}
	}
	return total
}

// times are what /proc/PID/stat tells: the process's own time, and that of its
// children that have ended.
type times struct {
	parent      int
	self, ended time.Duration
}

func readTimes(pid int) (times, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return times{}, err
	}
	return parseTimes(text)
}

// parseTimes reads the fields after the program's name, which is in
// parentheses and can hold anything.
func parseTimes(stat []byte) (times, error) {
	const parent, utime, stime, cutime, cstime = 1, 11, 12, 13, 14
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= cstime {
		return times{}, fmt.Errorf("process state %q is too short", stat)
	}
	var numbers [cstime + 1]int64
	for i := parent; i <= cstime; i++ {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil && i >= utime {
			return times{}, fmt.Errorf("process state %q: %w", stat, err)
		}
		numbers[i] = n
	}
	return times{
		parent: int(numbers[parent]),
		self:   time.Duration(numbers[utime]+numbers[stime]) * clockTick,
		ended:  time.Duration(numbers[cutime]+numbers[cstime]) * clockTick,
	}, nil
}
