"""Every error code in the source is registered in ``errors.CODES``."""

import ast
from collections.abc import Iterator

from profbucket.errors import CODES, ProfbucketError
from tests.support.paths import ROOT


def error_codes() -> Iterator[tuple[str, str]]:
    """Yield each code that is passed to an error, and the file that does."""
    for folder in ("profbucket", "functions", "storage_gcs", "storage_local", "storage_s3"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg == "code":
                    match node.value:
                        case ast.Constant(str(code)) if code:
                            yield code, str(path.relative_to(ROOT))


def test_every_code_in_the_source_is_registered() -> None:
    codes = list(error_codes())
    assert len(codes) > 50
    assert [(code, path) for code, path in codes if code not in CODES] == []


def test_the_default_code_of_every_class_is_registered() -> None:
    classes: list[type[ProfbucketError]] = [ProfbucketError, *ProfbucketError.__subclasses__()]
    assert {cls.default_code for cls in classes} <= set(CODES)
