"""A page of another site, in a real browser, that reads profiles with a key of its own."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from profbucket.auth import hash_secret
from tests.support.browser import post
from tests.support.paths import DATA
from tests.support.serving import served

KEYS = json.dumps([{"name": "all", "sha256": hash_secret("secret").hex(), "scopes": ["read", "write"]}])
READ = """
async ([url, key]) => {
  try {
    const response = await fetch(url, {headers: {Authorization: `Bearer ${key}`}});
    const size = (await response.arrayBuffer()).byteLength;
    return [response.status, size > 0, response.headers.get("Content-Disposition")];
  } catch (error) {
    return String(error);
  }
}
"""


@pytest.mark.parametrize("is_listed", [True, False])
def test_only_pages_of_listed_origins_read_answers_and_errors(
    browser: Browser, tmp_path: Path, is_listed: bool
) -> None:
    """The page is that of another server on this machine."""
    storage = (tmp_path / "profiles").as_uri()
    with (
        served("memory:", tmp_path / "other log") as origin,
        served(
            storage,
            tmp_path / "log",
            PROFBUCKET_KEYS=KEYS,
            PROFBUCKET_CORS_ORIGINS=origin if is_listed else "http://localhost:1",
        ) as url,
    ):
        data = (DATA / "shop-0.0.1" / "cpu-1.pb.gz").read_bytes()
        post(url, data, "secret", service="shop", type="cpu")
        page = browser.new_page()
        page.goto(f"{origin}/healthz")
        merge = f"{url}/merge?service=shop&type=cpu&from=0"
        answers = [page.evaluate(READ, [merge, key]) for key in ("secret", "wrong")]
        page.close()
    if is_listed:
        assert answers == [[200, True, 'attachment; filename="shop-cpu.pb.gz"'], [401, True, None]]
    else:
        assert answers == ["TypeError: Failed to fetch"] * 2
