"""``python -m profbucket``: the program by the interpreter at hand."""

from profbucket.cli import main

if __name__ == "__main__":
    main()
