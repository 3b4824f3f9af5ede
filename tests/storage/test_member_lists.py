"""The memory of decoded member lists."""

from profbucket.model.blocks import Members
from profbucket.storage.member_lists import MemberLists
from tests.support.storage.examples import NOW, make_meta


def make_members(count: int) -> Members:
    return Members.from_metas([make_meta(NOW + number) for number in range(count)])


def test_a_list_is_found_for_the_same_bytes_only() -> None:
    lists, first, second = MemberLists(), make_members(1), make_members(2)
    assert lists.get("block", b"1") is None
    lists.put("block", b"1", first)
    assert lists.get("block", b"1") is first
    assert lists.get("block", b"2") is None
    assert lists.get("other", b"1") is None
    lists.put("block", b"2", second)
    assert lists.get("block", b"2") is second
    assert lists.get("block", b"1") is None


def test_those_that_have_not_been_used_for_the_longest_time_are_dropped() -> None:
    lists, members = MemberLists(max_members=5), make_members(2)
    for name in "abab":
        lists.put(name, b"", members)
    assert lists.get("a", b"") is members
    lists.put("c", b"", members)
    assert [lists.get(name, b"") for name in "abc"] == [members, None, members]
    lists.put("large", b"", make_members(6))
    assert [lists.get(name, b"") for name in ("a", "c", "large")] == [None, None, None]
    lists.put("a", b"", members)
    assert lists.get("a", b"") is members
