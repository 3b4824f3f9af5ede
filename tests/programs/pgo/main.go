// The program writes a CPU profile of a busy loop to each file in its arguments.
package main

import (
	"log"
	"os"
	"runtime/pprof"
	"time"

	"profbucket.example/pgo/hot"
)

func main() {
	for _, name := range os.Args[1:] {
		file, err := os.Create(name)
		if err != nil {
			log.Fatal(err)
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			log.Fatal(err)
		}
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			hot.Spin(100_000)
		}
		pprof.StopCPUProfile()
		if err := file.Close(); err != nil {
			log.Fatal(err)
		}
	}
}
