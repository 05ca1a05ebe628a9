//go:build !linux

package main

import (
	"os"
	"time"
)

// residentMax is not known here.
func residentMax(*os.ProcessState) int64 { return 0 }

// ownResidentMax is not known here.
func ownResidentMax() int64 { return 0 }

// residentPeak is not known here.
func residentPeak(int) int64 { return 0 }

// serverCPU is not known here.
func serverCPU(int) (time.Duration, error) { return 0, nil }

// times are not known here.
type times struct{ self time.Duration }

func readTimes(int) (times, error) { return times{}, nil }
