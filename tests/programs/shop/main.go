// Shop is a program that takes all of Go's profiles of itself. It posts them to a collector as profefe's Go agent does,
// writes them to files, or serves them with net/http/pprof. It prints one line of JSON for each profile.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"syscall"
	"time"
)

const (
	memProfileRate = 8 << 10 // bytes between samples; with the default, a program this short has few samples
	tracedRequests = 80      // a trace contains every event, so that few requests suffice
)

// The profile types, in the order in which they are taken. The CPU profile is first: it generates the load that the
// others measure.
var profileTypes = []string{"cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"}

func main() {
	runtime.MemProfileRate = memProfileRate
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	if err := run(os.Args[1:], os.Stdout); errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	a := &agent{}
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.StringVar(&a.collector, "collector", "", "`URL` of the collector to post the profiles to")
	flags.StringVar(&a.service, "service", "shop", "`name` of the service")
	flags.Func("version", "`version` to send as the label version", func(text string) error {
		a.labels = append(a.labels, label{"version", text})
		return nil
	})
	flags.Func("label", "label to send, as `key=value`; repeatable", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found {
			return errors.New("write it as key=value")
		}
		a.labels = append(a.labels, label{key, value})
		return nil
	})
	slow := flags.Bool("slow", false, "be the version in which pricing a cart takes three times as long")
	seconds := flags.Float64("cpu-seconds", 1, "length of a CPU profile, in `seconds` of CPU time of all threads")
	count := flags.Int("count", 1, "`number` of sets of profiles to take")
	directory := flags.String("out", "", "write the profiles to this `directory` instead of posting them")
	listen := flags.String("listen", "", "run until killed, with net/http/pprof at this `address`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *listen != "" {
		return newShop(*slow).listen(*listen, out)
	}
	if (a.collector == "") == (*directory == "") {
		return errors.New("give either -collector, -out or -listen")
	}

	s := newShop(*slow)
	for number := 1; number <= *count; number++ {
		for _, profileType := range profileTypes {
			profile, err := s.profile(profileType, time.Duration(*seconds*float64(time.Second)))
			if err != nil {
				return fmt.Errorf("%s: %w", profileType, err)
			}
			var line []byte
			if *directory == "" {
				line, err = a.send(profileType, profile)
			} else {
				line, err = write(*directory, profileType, number, profile)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", profileType, err)
			}
			fmt.Fprintf(out, "%s\n", line)
		}
	}
	return nil
}

func write(directory, profileType string, number int, profile []byte) ([]byte, error) {
	suffix := "pb.gz"
	if profileType == "trace" {
		suffix = "trace"
	}
	file := filepath.Join(directory, fmt.Sprintf("%s-%d.%s", profileType, number, suffix))
	if err := os.WriteFile(file, profile, 0o644); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"type": profileType, "file": file})
}

func (s *shop) profile(profileType string, cpu time.Duration) ([]byte, error) {
	var buffer bytes.Buffer
	switch profileType {
	case "cpu":
		if err := pprof.StartCPUProfile(&buffer); err != nil {
			return nil, err
		}
		// CPU time instead of wall time: two versions use the same amount, even on a busy machine.
		end := cpuTime() + cpu
		s.serve(func() bool { return cpuTime() >= end })
		pprof.StopCPUProfile()
	case "trace":
		if err := trace.Start(&buffer); err != nil {
			return nil, err
		}
		left := tracedRequests
		s.serve(func() bool { left--; return left < 0 })
		trace.Stop()
	case "heap":
		runtime.GC() // a heap profile has the state after the last collection
		fallthrough
	default:
		if err := pprof.Lookup(profileType).WriteTo(&buffer, 0); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), nil
}

// cpuTime returns the CPU time of all threads of this process.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // cannot fail with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
