"""The command line."""


def main() -> None:
    """Run the command line."""
    from profbucket.cli import commands

    commands.main()
