"""``python -m profbucket``: the command line, run by this interpreter."""

from profbucket.cli import main

if __name__ == "__main__":
    main()
