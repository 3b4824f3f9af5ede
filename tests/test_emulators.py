"""A missing emulator skips the tests and says what to install, or fails them if CI requires it."""

from pathlib import Path

import pytest

from tests.support.emulators import REQUIRED, firestore_emulator
from tests.support.paths import ROOT


def test_a_missing_emulator_skips_with_installation_instructions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(REQUIRED, raising=False)
    with (
        pytest.raises(pytest.skip.Exception, match="gcloud components install"),
        firestore_emulator(tmp_path / "log"),
    ):
        pass


def test_a_missing_emulator_fails_if_it_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="is not installed"), firestore_emulator(tmp_path / "log"):
        pass


def test_ci_requires_the_emulators() -> None:
    assert f"export {REQUIRED}=1" in (ROOT / ".ci" / "run").read_text()
