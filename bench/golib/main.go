// The program merges the files named by its arguments with google/pprof's library, once for each line of input, and
// prints how many nanoseconds it took to parse, merge and encode them.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"time"

	"profbucket.example/golib/profile"
)

func main() {
	var files [][]byte
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		files = append(files, data)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		begin := time.Now()
		var profiles []*profile.Profile
		for _, data := range files {
			parsed, err := profile.ParseData(data)
			if err != nil {
				log.Fatal(err)
			}
			profiles = append(profiles, parsed)
		}
		merged, err := profile.Merge(profiles)
		if err != nil {
			log.Fatal(err)
		}
		var out bytes.Buffer
		if err := merged.Write(&out); err != nil {
			log.Fatal(err)
		}
		fmt.Println(time.Since(begin).Nanoseconds())
	}
}
