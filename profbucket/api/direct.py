"""WSGI middleware that answers posts of profiles, by far the most frequent requests, without Flask's dispatch."""

from collections.abc import Callable, Iterable, Mapping
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from werkzeug.wrappers import Request, Response

from profbucket.telemetry.request import current_record


def answer_posts(
    app: Flask,
    views: Mapping[str, Callable[[Request], Response]],
    error_response: Callable[[Exception], Response],
) -> WSGIApplication:
    """Return the WSGI application of *app* with posts answered by *views*, of the request, by their paths.

    *error_response* returns the response to an exception, within the request's context.
    """
    wsgi_app = app.wsgi_app

    def posting_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        view = views.get(path) if environ["REQUEST_METHOD"] == "POST" else None
        if view is None:
            return wsgi_app(environ, start_response)
        current_record().route = path
        try:
            response = view(Request(environ))
        except Exception as error:  # noqa: BLE001 - as Flask does
            with app.request_context(environ):
                response = error_response(error)
        return response(environ, start_response)

    return posting_app
