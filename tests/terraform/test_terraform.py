"""terraform's own checks: fmt, validate, and the tests in terraform/tests."""

import pytest

from tests.support.terraform.terraform import Terraform

pytestmark = pytest.mark.long


def test_the_configuration_is_formatted(terraform: Terraform) -> None:
    assert terraform("fmt", "-check", "-recursive", "-diff").check().text == ""


def test_the_configuration_is_valid(terraform: Terraform) -> None:
    terraform("validate", "-no-color").check()


def test_terraform_test_passes(terraform: Terraform) -> None:
    result = terraform("test", "-no-color")
    assert result.returncode == 0, f"{result.text}\n{result.stderr}"
    assert ", 0 failed" in result.text
