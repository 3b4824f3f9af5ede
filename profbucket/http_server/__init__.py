"""An HTTP/1.1 server for the API: an event loop receives requests, threads run only complete ones."""
