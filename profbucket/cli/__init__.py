"""The command line. It needs only the standard library; commands that need more say which extra to install."""


def main() -> None:
    """Run the command line and exit."""
    from profbucket.cli.main import main as run

    run()
