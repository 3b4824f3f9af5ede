"""Credentials that sign URLs, by their own private key or by the API IAM Credentials."""

import json
import random
import time
from base64 import b64decode, b64encode
from typing import Any

from google.auth import crypt, exceptions
from google.auth.credentials import Credentials, Scoped, Signing
from google.auth.transport.requests import Request
from google.oauth2 import service_account

SIGNING_SCOPE = "https://www.googleapis.com/auth/iam"  # the storage client's scopes do not permit signBlob
SIGN_URL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:signBlob"

_TIMEOUT_SECONDS = 8.0
_ATTEMPTS = 3
_RETRYABLE_STATUSES = {408, 429, 500, 502, 503, 504}


class SigningDenied(Exception):
    """The account may not sign; the message is the answer of the API."""


class _IamSigner(crypt.Signer):  # type: ignore[misc,unused-ignore]
    """Signatures by Google's API for *email*. Its *credentials* are refreshed when they expire."""

    key_id = None

    def __init__(self, request: Request, credentials: Credentials, email: str) -> None:
        self._request = request
        self._credentials = credentials
        self._url = SIGN_URL.format(email)

    def sign(self, message: str | bytes) -> bytes:
        data = message.encode() if isinstance(message, str) else message
        body = json.dumps({"payload": b64encode(data).decode()}).encode()
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.1, 0.4) * 2**attempt)  # noqa: S311 - spreads retries
            headers = {"Content-Type": "application/json"}
            self._credentials.before_request(  # type: ignore[no-untyped-call,unused-ignore]
                self._request, "POST", self._url, headers
            )
            response = self._request(self._url, "POST", body, headers, timeout=_TIMEOUT_SECONDS)
            if response.status not in _RETRYABLE_STATUSES:
                break
        text = response.data.decode(errors="replace")
        if response.status in (401, 403):
            raise SigningDenied(text)
        if response.status != 200:
            message = f"signBlob: HTTP status {response.status}: {text}"
            raise exceptions.TransportError(message)  # type: ignore[no-untyped-call,unused-ignore]
        return b64decode(json.loads(text)["signedBlob"])


def signing_credentials(credentials: Any) -> Any:
    """Return credentials that sign for the account of *credentials*; ``None`` for those of a user.

    An instance has no private key: the API signs, and needs a token with a scope of its own.
    """
    if isinstance(credentials, Signing):
        return credentials
    if not getattr(credentials, "service_account_email", None) or not isinstance(credentials, Scoped):
        return None
    scoped = credentials.with_scopes([SIGNING_SCOPE])  # type: ignore[no-untyped-call,unused-ignore]
    request = Request()
    scoped.refresh(request)  # the metadata server tells the account's address
    email = scoped.service_account_email
    signer = _IamSigner(request, scoped, email)
    return service_account.Credentials(signer, email, token_uri="")  # type: ignore[no-untyped-call,unused-ignore]
