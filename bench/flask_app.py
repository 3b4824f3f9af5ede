"""A Flask application whose requests take some tens of milliseconds of CPU time, to measure the agent."""

import hashlib
import json

from flask import Flask, Response

app = Flask(__name__)


@app.route("/")
def index() -> Response:
    items = [
        {"id": number, "price": _compute_price(f"item {number}"), "tags": ["a", "b"]} for number in range(4000)
    ]
    items.sort(key=lambda item: (item["price"], item["id"]))
    text = json.dumps(items)
    return Response(text[: len(json.loads(text))], content_type="text/plain")


def _compute_price(item: str) -> int:
    digest = hashlib.blake2b(item.encode()).digest()
    return sum(byte * byte for byte in digest) % 1000
