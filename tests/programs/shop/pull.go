package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // registers its handlers below /debug/pprof/
)

// listen serves profiles at address, and generates load, until the process is killed. It prints the address when it
// is listening.
func (s *shop) listen(address string, out io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", listener.Addr())
	go s.serve(func() bool { return false })
	return http.Serve(listener, nil)
}
