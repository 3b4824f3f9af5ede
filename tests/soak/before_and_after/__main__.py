"""Batches, compaction, expiry and a lost index change no answer, whatever was accepted.

A history of posts goes into two storages. One gets each profile alone and is never changed again; the other gets
some in batches and some again, is compacted in between and at the end, its profiles expire, and its index is lost.
Both must answer every question alike. Values, times and durations are extreme, and each profile alone just fits
limits that several together exceed.

``python -m tests.soak.before_and_after --examples 2000`` runs it; a test runs forty examples.

Two things depend on the order in which blocks are read, and are compared without it: the order of sample types,
and the four strings of the first profile that sets them, such as ``doc_url``, which all profiles here share.
"""

import argparse
import logging

from tests.soak.before_and_after.checks import check_histories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--no-shrink", action="store_true", help="report the first failure as it was found")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    check_histories(arguments.examples, print_counts=True, shrink=not arguments.no_shrink)


if __name__ == "__main__":
    main()
