"""The deployed archive: its files, unpacked into an empty directory and served from there."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import urllib3

from profbucket.pprof import decode
from tests.support.go_tool import run
from tests.support.paths import ROOT
from tests.support.requirements import FUNCTIONS, pinned_environment
from tests.support.serving import TIMEOUT_SECONDS, served
from tests.support.storage.unique_names import new_gcs_bucket, new_name
from tests.support.terraform.terraform import Terraform, copy_deployed, find_terraform

pytestmark = pytest.mark.long

CPU = ROOT / "tests" / "data" / "shop-0.0.1" / "cpu-1.pb.gz"
ALL_TIME = "from=1970-01-01T00:00:00&to=2100-01-01T00:00:00"


@pytest.fixture(scope="module")
def files(stub: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the content of each file in the archive, by path."""
    root = tmp_path_factory.mktemp("archive")
    copy_deployed(root)
    # Terraform takes long to handle a large archive, hence only once, and without all that refers to it.
    return Terraform(find_terraform(), root, stub).apply("-target=data.archive_file.source").files()


@pytest.fixture
def unpacked(files: Mapping[str, str], tmp_path: Path) -> Path:
    """Return a directory with the content of the archive and nothing else."""
    directory = tmp_path / "unpacked"
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return directory


def test_the_archive_holds_only_code(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    tops = {name.split("/")[0] for name in names}
    assert tops == {"main.py", "requirements.txt", "profbucket", "storage_gcs", "storage_local"}
    assert {Path(name).suffix for name in names} <= {".py", ".txt", ".json", ".html", ".css", ".js", ".svg"}
    assert not [name for name in names if "test" in name or "__pycache__" in name or "/." in name]


def test_the_archive_holds_every_module(unpacked: Path) -> None:
    for package in ("profbucket", "storage_gcs", "storage_local"):
        expected = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert expected == {path.relative_to(unpacked) for path in (unpacked / package).rglob("*.py")}
    assert (unpacked / "storage_gcs" / "indexes.json").exists()
    assert (unpacked / "profbucket" / "api" / "openapi.json").exists()
    ui = ROOT / "profbucket" / "ui"
    page = {path.relative_to(ui): path.read_text() for path in ui.rglob("*") if path.is_file()}
    shipped = unpacked / "profbucket" / "ui"
    assert page == {path.relative_to(shipped): path.read_text() for path in shipped.rglob("*") if path.is_file()}


def test_every_module_compiles(unpacked: Path) -> None:
    """Cloud Build compiles each file; one that does not compile makes the deployment fail."""
    run(sys.executable, "-m", "compileall", "-f", "-q", str(unpacked)).check()


def test_modules_are_imported_from_the_unpacked_archive(unpacked: Path) -> None:
    """Guard the tests below, which would pass with the repository's modules, too."""
    python = pinned_environment(FUNCTIONS) / "bin" / "python"
    program = "import main, profbucket, storage_gcs, storage_local; print(profbucket.__file__)"
    result = subprocess.run([python, "-c", program], cwd=unpacked, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(unpacked / "profbucket" / "__init__.py")


def test_the_archive_serves_from_a_directory(unpacked: Path, tmp_path: Path) -> None:
    _check_post_and_merge(unpacked, f"file://{tmp_path / 'profiles'}", tmp_path)


def test_the_archive_serves_from_the_cloud(unpacked: Path, tmp_path: Path, gcs: str, firestore: str) -> None:
    url = f"gs://{new_gcs_bucket(gcs)}?project={new_name()}&database=profbucket&retention_days=30"
    _check_post_and_merge(unpacked, url, tmp_path)


def _check_post_and_merge(unpacked: Path, storage_url: str, logs: Path) -> None:
    """Post profiles to write and read them from query and merge, which share only the storage."""
    main = unpacked / "main.py"
    scripts = pinned_environment(FUNCTIONS) / "bin"
    with served(storage_url, logs / "write", target="write", main=main, scripts=scripts) as write:
        for version in ("0.0.1", "0.0.2"):
            url = f"{write}?service=shop&type=cpu&version={version}"
            response = urllib3.request("POST", url, body=CPU.read_bytes(), timeout=TIMEOUT_SECONDS)
            assert response.status == 200, response.data
    with served(storage_url, logs / "query", target="query", main=main, scripts=scripts) as query:
        for path, text in (
            ("/", b"ui/app.js"),
            ("/api/0/profiles/flame?service=shop&type=cpu&from=0", b"priceCart"),
        ):
            response = urllib3.request("GET", f"{query}{path}", timeout=TIMEOUT_SECONDS)
            assert (response.status, text in response.data) == (200, True), response.data
    with served(storage_url, logs / "merge", target="merge", main=main, scripts=scripts) as merge:
        response = urllib3.request("GET", f"{merge}?service=shop&type=cpu&{ALL_TIME}", timeout=TIMEOUT_SECONDS)
        assert response.status == 200, response.data
        once, twice = decode(CPU.read_bytes()).totals, decode(response.data).totals
        assert [total.value for total in twice] == [2 * total.value for total in once]
