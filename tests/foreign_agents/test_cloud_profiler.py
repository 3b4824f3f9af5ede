"""Cloud Profiler's agents, as their packages install them."""

import sys

import pytest

from tests.foreign_agents.clients import KeyedCollector, running_node, running_python
from tests.support.go_tool import GoPprof

VERSION = {"key": "version", "value": "1.2.3"}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="google-cloud-profiler builds on Python 3.11 at most")
def test_python(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    """The first upload of each profile is answered 503, and the second is stored."""
    packages, service = ("google-cloud-profiler==4.1.0",), "cloud-py"
    arguments = (keyed.url, service, keyed.secret)
    with running_python(packages, "cloud_profiler_client.py", *arguments) as client:
        client.wait_for(lambda: keyed.has_enough(service, "cpu", "wall"))
    check(keyed, service, "python")
    assert keyed.refusals.retried("google-cloud-profiler")
    assert keyed.share_of_hot(go_pprof, service, "cpu") == pytest.approx(70, abs=10)
    assert keyed.share_of_hot(go_pprof, service, "wall") == pytest.approx(70, abs=10)


def test_node(keyed: KeyedCollector, go_pprof: GoPprof) -> None:
    packages, service = ("@google-cloud/profiler@7.0.0",), "cloud-node"
    arguments = (keyed.url, service, keyed.secret)
    with running_node(
        packages, "cloud_profiler_client.js", *arguments, GCLOUD_PROJECT="demo", METADATA_SERVER_DETECTION="none"
    ) as client:
        client.wait_for(lambda: keyed.types(service) == {"wall", "heap"})
        client.wait_for(lambda: keyed.has_enough(service, "wall"))
    check(keyed, service, "nodejs")
    assert keyed.share_of_hot(go_pprof, service, "wall") == pytest.approx(70, abs=10)


def check(keyed: KeyedCollector, service: str, language: str) -> None:
    """Check the labels of all profiles of *service*, and that each was taken once."""
    profiles = keyed.find(service)
    for profile in profiles:
        assert VERSION in profile["labels"]
        assert {"key": "language", "value": language} in profile["labels"]
    assert len({profile["created_at"] for profile in profiles if profile["type"] != "heap"}) == len(
        [profile for profile in profiles if profile["type"] != "heap"]
    )
