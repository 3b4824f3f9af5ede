"""The process that serves the API: ``python -m profbucket.cli.server_process FD`` with a listening socket."""

import logging
import os
import socket
import sys

from profbucket.api.app import create_app
from profbucket.cli.terminal import print_error
from profbucket.config import Config, copy_environment
from profbucket.errors import ProfbucketError
from profbucket.http_server.server import Server
from profbucket.http_server.settings import ServerSettings
from profbucket.ingest.collector import Collector
from profbucket.query.querier import Querier
from profbucket.telemetry import logs


def main(listener: socket.socket) -> int:
    """Serve the collector of the environment's settings until a signal arrives; return the exit code."""
    logs.configure()
    try:
        config = Config.from_env(copy_environment())
        logs.configure(config.log_level, config.project)
        storage = config.open_storage()
    except ProfbucketError as error:
        return print_error(error)
    app = create_app(config, collector=Collector(storage, config.limits), querier=Querier(storage, config.limits))
    Server(app, ServerSettings(threads=config.threads)).run(listener)
    return 0


if __name__ == "__main__":
    exit_code = main(socket.socket(fileno=int(sys.argv[1])))
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)  # without waiting for threads of requests that were abandoned
