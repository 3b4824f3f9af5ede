"""Merges in other formats than pprof, over HTTP."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.limits import Limits
from profbucket.model.form import PROFILES_PATH
from profbucket.model.merge_format import MergeFormat
from profbucket.model.refinement import Refinement
from profbucket.storage.memory import MemoryIndex
from profbucket.storage.open import open_storage
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.api import NOW, Api, LinkedBucket, comments, error_code, pprof
from tests.support.profiles import Profile, encode, profile_sets
from tests.support.property_tests import examples

OTHERS = [one for one in MergeFormat if one is not MergeFormat.PPROF]
SHOWN = (MergeFormat.SVG, MergeFormat.HTML)


def make_api(limits: Limits = Limits()) -> Api:
    api = Api(open_storage("memory:"), limits)
    api.posted(pprof(5, at=NOW - 1, name="slow"))
    api.posted(pprof(3, at=NOW, name="quick"))
    return api


def test_the_default_is_pprof() -> None:
    api = make_api()
    assert api.merge(format="pprof").data == api.merge(format="").data == api.merge().data
    assert comments(api.merge(format="pprof"))


@pytest.mark.parametrize("merge_format", MergeFormat)
def test_a_file_has_its_type_and_name(merge_format: MergeFormat) -> None:
    response = make_api().merge(format=merge_format)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == merge_format.media_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    disposition = "inline" if merge_format in SHOWN else "attachment"
    assert response.headers["Content-Disposition"] == f'{disposition}; filename="api-cpu{merge_format.suffix}"'
    assert ("sandbox" in response.headers.get("Content-Security-Policy", "")) == (merge_format in SHOWN)
    assert "allow-same-origin" not in response.headers.get("Content-Security-Policy", "")


def test_the_content_is_that_of_the_refined_merge() -> None:
    api = make_api()
    assert api.merge(format="collapsed").text == "quick 3\nslow 5\n"
    assert api.merge(format="collapsed", focus="slow").text == "slow 5\n"
    assert json.loads(api.merge(format="speedscope").data)["profiles"][0]["endValue"] == 8
    assert ">slow: 5ns (62.50%)<" in api.merge(format="svg").text
    assert ">service=api type=cpu merged 2 profiles" in api.merge(format="svg").text
    assert "<!DOCTYPE html>" in api.merge(format="html").text
    assert 'tooltip="slow (5ns)"' in api.merge(format="dot").text
    assert api.merge(format="dot", max_nodes="1").text.count("fontsize=") == 2  # the legend and one function
    assert api.merge(format="svg", max_nodes="2").text.count("<g>") == 2


@pytest.mark.parametrize("merge_format", OTHERS)
def test_files_are_compressed_if_the_client_accepts_it(merge_format: MergeFormat) -> None:
    api = make_api()
    query = {"service": "api", "type": "cpu", "from": "now-1h", "format": merge_format}
    plain = api.client.get(f"{PROFILES_PATH}/merge", query_string=query)
    compressed = api.client.get(f"{PROFILES_PATH}/merge", query_string=query, headers={"Accept-Encoding": "gzip"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"format": "png"}, "invalid_parameter"),
        ({"format": "PPROF"}, "invalid_parameter"),
        ({"format": "x" * 9999}, "invalid_parameter"),
        ({"format": "dot", "max_nodes": "501"}, "invalid_parameter"),
        ({"format": "svg", "max_nodes": "x"}, "invalid_parameter"),
        ({"format": "svg", "max_nodes": "50001"}, "max_flame_nodes_exceeded"),
        ({"format": "collapsed", "service": "nobody"}, "not_found"),
        ({"format": "html", "type": "trace"}, "not_mergeable"),
    ],
    ids=str,
)
def test_malformed_requests_are_rejected(parameters: dict[str, str], code: str) -> None:
    assert error_code(make_api().merge(**parameters)) == code


def test_a_file_that_is_too_large_is_refused() -> None:
    assert error_code(make_api(Limits(export_bytes=10)).merge(format="collapsed")) == "max_export_bytes_exceeded"


def test_a_large_file_is_in_the_bucket() -> None:
    bucket = LinkedBucket()
    api = Api(Storage(bucket, MemoryIndex()), Limits(answer_bytes=5))
    api.posted(pprof(5, at=NOW, name="slow"))
    response = api.merge(format="collapsed")
    assert response.status_code == 302
    url = response.headers["Location"]
    assert "filename=api-cpu.collapsed.txt" in url
    object_key = url.removeprefix("https://bucket.example/").partition("?")[0]
    assert bucket.get(object_key) == b"slow 5\n"


_TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "main", ".", "^$", "(", "a,b", "1kb:", "main=a", "\x00", "é", "x" * 300, "9" * 30]
)


@examples(30)
@given(
    profile_sets(),
    st.dictionaries(st.sampled_from(Refinement.names()), _TEXTS, max_size=4),
    st.sampled_from([*MergeFormat, "png"]),
    st.sampled_from([None, "1", "80", "600", "0", "99999999"]),
)
def test_no_profile_and_no_request_makes_the_collector_fail(
    profiles: list[Profile], refinement: dict[str, str], merge_format: str, max_nodes: str | None
) -> None:
    api = Api(open_storage("memory:"), Limits(frames=5000, export_bytes=100_000))
    for content in profiles:
        api.post(encode(content), type="other", created_at=str(NOW // SECOND))
    nodes = {} if max_nodes is None else {"max_nodes": max_nodes}
    for path in (f"{PROFILES_PATH}/merge", f"{PROFILES_PATH}/flame", "/api/0/tags"):
        only_merge = {"format": merge_format} if path.endswith("merge") else {}
        parameters = {"service": "api", "type": "other", "from": "0", **refinement, **nodes, **only_merge}
        response = api.get(path, **parameters)
        if response.status_code != 200:
            assert response.status_code in (400, 404, 422)
            error_code(response)
