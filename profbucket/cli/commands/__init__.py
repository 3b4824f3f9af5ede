"""The commands, a module each; see :mod:`profbucket.cli.main` for what a module holds."""
