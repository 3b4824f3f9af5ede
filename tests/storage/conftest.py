"""The suites are no test modules themselves; their assertions are to be shown as if they were."""

import pytest

for suite in ("buckets", "indexes", "storages", "repairs"):
    pytest.register_assert_rewrite(f"tests.storage.{suite}")
