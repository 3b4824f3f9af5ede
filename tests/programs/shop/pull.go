package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // what it serves below /debug/pprof/
)

// listen serves requests, and profiles to those who ask at address for them, until the process ends. It prints the
// address once it listens.
func (s *shop) listen(address string, out io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", listener.Addr())
	go s.serve(func() bool { return false })
	return http.Serve(listener, nil)
}
