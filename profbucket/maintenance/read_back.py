"""Read a block as its readers do, before it replaces anything."""

from typing import TYPE_CHECKING

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model.blocks import PROFILES, SERIES, Block

if TYPE_CHECKING:
    from profbucket.pprof.merge import Merger


def read_back(block: Block, data: bytes, limits: Limits) -> None:
    """Read all of *block* from its bytes *data*: the member list, the merge, one series and one member.

    How large a merge of profiles may be does not matter: that of one block is bounded when it is built.
    Raise the error that a reader would meet.
    """
    from profbucket.pprof.block.content import BlockContent, add_rows

    content = BlockContent(block, data, limits)
    members = content.read_members()
    if len(members) != block.count or members.created_at[0] != block.first or members.created_at[-1] != block.last:
        raise Invalid(f"the list of members does not match the record of {block.id}", code="damaged_block")
    whole = _new_merger(limits)
    whole.add(content.read_merged(), block.id, limits.of_blocks())
    whole.result()
    for part, row in ((SERIES, len(members.labels) - 1), (PROFILES, len(members) - 1)):
        merger = _new_merger(limits)
        add_rows(merger, content, part, [row])
        merger.result()


def _new_merger(limits: Limits) -> "Merger":
    from profbucket.pprof.merge import Merger

    return Merger(limits.of_blocks())
