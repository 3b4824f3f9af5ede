"""What terraform itself says of the configuration; terraform/tests holds the claims."""

from tests.support.terraform.terraform import Terraform


def test_the_configuration_is_formatted(terraform: Terraform) -> None:
    assert terraform("fmt", "-check", "-recursive", "-diff").check().text == ""


def test_the_configuration_is_one_that_the_providers_take(terraform: Terraform) -> None:
    terraform("validate", "-no-color").check()


def test_the_claims_of_terraform_test_hold(terraform: Terraform) -> None:
    done = terraform("test", "-no-color")
    assert done.returncode == 0, f"{done.text}\n{done.stderr}"
    assert ", 0 failed" in done.text
