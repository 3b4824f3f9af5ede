// Shop is a program that profiles itself in every way Go knows and posts the profiles to a collector as profefe's Go
// agent does, writes them to files, or gives them to those who fetch them. It prints one line of JSON for each profile.
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
	memProfileRate = 8 << 10 // bytes between samples; the default sees little of a program this short
	tracedRequests = 80      // a trace holds every event: a few requests are enough
)

// The kinds of profiles in the order in which they are taken. The CPU profile is first: it makes the load that the
// others show.
var kinds = []string{"cpu", "heap", "goroutine", "mutex", "block", "threadcreate", "trace"}

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
	flags.StringVar(&a.collector, "collector", "", "`URL` of the collector that the profiles are posted to")
	flags.StringVar(&a.service, "service", "shop", "the `name` it posts under")
	flags.Func("version", "a `version`, sent as the label version", func(text string) error {
		a.labels = append(a.labels, label{"version", text})
		return nil
	})
	flags.Func("label", "a label to send, as `key=value`; may be given more than once", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found {
			return errors.New("write it as key=value")
		}
		a.labels = append(a.labels, label{key, value})
		return nil
	})
	slow := flags.Bool("slow", false, "be the version in which pricing a cart takes three times as long")
	seconds := flags.Float64("cpu-seconds", 1, "`seconds` of CPU time, over all threads, that one CPU profile covers")
	count := flags.Int("count", 1, "how many `times` the whole set is taken")
	directory := flags.String("out", "", "write the profiles to this `directory` instead of posting them")
	listen := flags.String("listen", "", "work until it is killed, with net/http/pprof at this `address`")
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
		for _, kind := range kinds {
			profile, err := s.profile(kind, time.Duration(*seconds*float64(time.Second)))
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			var line []byte
			if *directory == "" {
				line, err = a.send(kind, profile)
			} else {
				line, err = write(*directory, kind, number, profile)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			fmt.Fprintf(out, "%s\n", line)
		}
	}
	return nil
}

func write(directory, kind string, number int, profile []byte) ([]byte, error) {
	ending := "pb.gz"
	if kind == "trace" {
		ending = "trace"
	}
	file := filepath.Join(directory, fmt.Sprintf("%s-%d.%s", kind, number, ending))
	if err := os.WriteFile(file, profile, 0o644); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"type": kind, "file": file})
}

func (s *shop) profile(kind string, cpu time.Duration) ([]byte, error) {
	var buffer bytes.Buffer
	switch kind {
	case "cpu":
		if err := pprof.StartCPUProfile(&buffer); err != nil {
			return nil, err
		}
		// CPU time and not the clock ends it: on a busy machine, too, two versions have burnt the same.
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
		runtime.GC() // a heap profile shows the state after the last collection
		fallthrough
	default:
		if err := pprof.Lookup(kind).WriteTo(&buffer, 0); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), nil
}

// cpuTime is what all threads of this process have used so far.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it cannot fail with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
