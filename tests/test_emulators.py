"""A missing emulator is a skip that says what to install, or, where CI demands it, a failure."""

from pathlib import Path

import pytest

from tests.support.emulators import REQUIRED, firestore_emulator
from tests.support.paths import ROOT


def test_without_the_emulator_tests_are_skipped_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(REQUIRED, raising=False)
    with (
        pytest.raises(pytest.skip.Exception, match="gcloud components install"),
        firestore_emulator(tmp_path / "log"),
    ):
        pass


def test_where_it_is_demanded_a_missing_emulator_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="is not installed"), firestore_emulator(tmp_path / "log"):
        pass


def test_ci_demands_it() -> None:
    assert f"export {REQUIRED}=1" in (ROOT / ".ci" / "run").read_text()
