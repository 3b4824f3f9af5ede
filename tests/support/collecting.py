"""Storing one profile through the client of a command."""

from profbucket.cli.client import ProfileClient
from profbucket.errors import ProfbucketError
from profbucket.model.meta import Meta
from profbucket.model.upload import Upload


def store(client: ProfileClient, upload: Upload) -> Meta:
    """Store a profile and return its record, or raise its error."""
    [outcome] = client.store_batch([upload])
    if isinstance(outcome, ProfbucketError):
        raise outcome
    return outcome
