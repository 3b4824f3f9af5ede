"""Ids and keys: one profile, one id, which needs no escaping anywhere and never leaves its place."""

import re
import string
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.limits import Limits
from profbucket.model import ids
from profbucket.model.ids import ProfileId
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.times import LATEST

CPU, TRACE = ProfileType.CPU, ProfileType.TRACE
NOW = 1_795_387_867_123_456_789

SERVICES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    [
        "_",
        "__",
        ".",
        "..",
        "...",
        ".hidden",
        "~",
        "~7E",
        "/",
        "a/b",
        "../../etc/passwd",
        "a b",
        "%2F",
        "CON",
        "-",
        "🔥",
    ]
)
IDS = st.builds(
    ProfileId,
    service=SERVICES,
    type=st.sampled_from(ProfileType),
    created_at=st.integers(0, LATEST),
    digest=st.text("0123456789abcdef", min_size=16, max_size=16),
)
GOOD = "api/cpu/20261122T225107.123456789Z-0123456789abcdef"


class TestServices:
    @given(SERVICES)
    def test_what_is_escaped_is_unescaped(self, service: str) -> None:
        assert ids.unescape_service(ids.escape_service(service)) == service

    @given(SERVICES)
    def test_an_escaped_name_is_safe_in_urls_shells_and_file_systems(self, service: str) -> None:
        escaped = ids.escape_service(service)
        assert re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", escaped)  # not hidden, not ".", not ".."
        assert quote(escaped, safe="") == escaped
        assert escaped != ids.RESERVED

    @given(SERVICES, SERVICES)
    def test_different_services_have_different_names_and_prefixes(self, one: str, other: str) -> None:
        if one != other:
            assert ids.escape_service(one) != ids.escape_service(other)
            assert not ids.profile_prefix(one).startswith(ids.profile_prefix(other))

    @pytest.mark.parametrize(
        ("service", "escaped"),
        [
            ("api-server_v1.2", "api-server_v1.2"),
            ("a/b", "a~2Fb"),
            ("a b", "a~20b"),
            ("größe", "gr~C3~B6~C3~9Fe"),
            ("🔥", "~F0~9F~94~A5"),
            ("~", "~7E"),
            ("_", "~5F"),  # what lies under "_/" is no service's
            ("__", "__"),
            ("_a", "_a"),
            (".", "~2E"),
            ("..", "~2E."),
            (".hidden", "~2Ehidden"),
            ("a..b", "a..b"),
            ("a\0b\n", "a~00b~0A"),
        ],
    )
    def test_a_service_is_escaped_as_it_always_was(self, service: str, escaped: str) -> None:
        """The written form is that of objects that are stored already: it cannot change."""
        assert ids.escape_service(service) == escaped

    @pytest.mark.parametrize(
        "text",
        [
            *("", "_", ".", "..", ".hidden", "a/b", "a b", "%2F", "ü", "a\n", "\ud800"),
            *("~", "~2", "~2f", "~G0", "~61", "~FF", "~C3"),
            *("~ED~A0~80", "~C0~80", "~F4~90~80~80"),  # a surrogate, overlong, beyond Unicode
        ],
    )
    def test_what_escape_never_writes_is_no_name(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            ids.unescape_service(text)

    @given(st.text(st.sampled_from("~0123456789ABCDEFabcxyz._-/%é")) | st.text())
    def test_whatever_is_unescaped_is_a_service_or_a_value_error(self, text: str) -> None:
        try:
            service = ids.unescape_service(text)
        except ValueError:
            return
        assert ids.escape_service(service) == text

    @pytest.mark.parametrize(
        ("service", "sentence"),
        [
            ("", "service is missing"),
            ("a\nb", r"a control character in the service's name: 'a\\nb'"),
            ("\0", "a control character"),
            ("\ud800", "a control character"),
            (
                "x" * 201,
                r"the service's name has 201 bytes, escaped, the cap is 200 \(PROFBUCKET_MAX_SERVICE_BYTES\)",
            ),
            ("x" * 4096, "4096 bytes"),
            ("🔥" * 17, "204 bytes"),
        ],
    )
    def test_a_name_that_no_service_can_have_is_invalid_for_a_reason(self, service: str, sentence: str) -> None:
        with pytest.raises(Invalid, match=sentence):
            ids.check_service(service, Limits())

    @pytest.mark.parametrize("service", ["_", "..", "a/b c", "🔥" * 16, "x" * 200])
    def test_any_other_name_is_a_service_and_fits_into_a_key(self, service: str) -> None:
        ids.check_service(service, Limits())
        key = ProfileId(service, CPU, NOW, "0" * 16).object_key
        assert all(len(part) <= 240 for part in key.split("/"))

    def test_a_prefix_is_that_of_no_service_whose_name_only_begins_alike(self) -> None:
        assert ids.profile_prefix("api") == "api/"
        assert ids.profile_prefix("api", CPU) == "api/cpu/"
        assert ids.profile_prefix("a/b", TRACE) == "a~2Fb/trace/"


class TestIds:
    @given(IDS)
    def test_an_id_is_read_as_it_was_written_and_so_is_its_key(self, one: ProfileId) -> None:
        assert ProfileId.parse(str(one)) == one
        assert ProfileId.from_object_key(one.object_key) == one
        assert one.object_key.removesuffix(".pb.gz").removesuffix(".trace") == str(one)

    @given(IDS)
    def test_an_id_needs_no_escaping_and_can_be_joined_by_plus(self, one: ProfileId) -> None:
        assert re.fullmatch("[A-Za-z0-9._~/-]+", str(one))
        assert [part for part in str(one).split("/") if part.startswith(".") or part in ("", "_")] == []

    @given(st.lists(st.integers(0, LATEST), min_size=2), SERVICES)
    def test_ids_sort_by_time(self, times: list[int], service: str) -> None:
        ids = [ProfileId(service, CPU, time, "0" * 16) for time in times]
        assert sorted(map(str, ids)) == [str(one) for one in sorted(ids, key=lambda one: one.created_at)]

    @given(IDS)
    def test_the_keys_of_a_service_and_type_begin_with_its_prefix(self, one: ProfileId) -> None:
        assert one.object_key.startswith(ids.profile_prefix(one.service))
        assert one.object_key.startswith(ids.profile_prefix(one.service, one.type))
        assert ids.profile_prefix(one.service, one.type).count("/") == 2

    def test_an_id_is_written_as_it_always_was(self) -> None:
        """The written form is that of objects that are stored already: it cannot change."""
        one = ProfileId("api", CPU, NOW, "0123456789abcdef")
        assert str(one) == GOOD
        assert one.object_key == f"{GOOD}.pb.gz"
        assert replace(one, type=TRACE).object_key == "api/trace/20261122T225107.123456789Z-0123456789abcdef.trace"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "/",
            "../../etc/passwd",
            "/etc/passwd",
            f"../{GOOD}",
            f"/{GOOD}",
            f"{GOOD}/",
            f" {GOOD}",
            f"{GOOD}\n",
            f"{GOOD}.pb.gz",
            f"{GOOD}0",
            GOOD[:-1],
            GOOD.upper(),
            GOOD.replace("api", "_"),
            GOOD.replace("api", ".."),
            GOOD.replace("api", ""),
            GOOD.replace("api", "~61pi"),  # the same service, written otherwise
            GOOD.replace("api", "%61pi"),
            GOOD.replace("api", "api//"),
            GOOD.replace("cpu", "gpu"),
            GOOD.replace("cpu", "CPU"),
            GOOD.replace("cpu", "unknown"),
            GOOD.replace("abcdef", "ABCDEF"),
            GOOD.replace("abcdef", "abcdeg"),
            GOOD.replace("0123456789abcdef", "\u0660123456789abcdef"),
            GOOD.replace("2026", "\u0662026"),
            GOOD.replace("2026", "1969"),
            GOOD.replace("2026", "2263"),
            GOOD.replace("2026", "9999"),
            GOOD.replace("2026", "0000"),
            GOOD.replace("1122T", "1131T"),
            GOOD.replace("1122T", "0229T"),
            GOOD.replace("T225107", "T245107"),
            GOOD.replace("T225107", "T225160"),
            GOOD.replace(".123456789Z", "Z"),
            GOOD.replace(".123456789Z", ".12345678Z"),
            GOOD.replace("Z-", "Z+"),
            GOOD.replace("Z-", "-"),
            "x" * 4096,
            "/" * 100_000,
            "\ud800/cpu/x",
            "\0",
        ],
    )
    def test_what_is_no_id_is_invalid(self, text: str) -> None:
        with pytest.raises(Invalid) as caught:
            ProfileId.parse(text)
        assert len(str(caught.value)) < 400
        with pytest.raises(Invalid):
            ProfileId.from_object_key(f"{text}.pb.gz")

    @given(st.text(st.sampled_from("api/cpu20261122T.Z-~_") | st.characters()))
    def test_whatever_is_parsed_is_an_id_or_invalid(self, text: str) -> None:
        for parse in (ProfileId.parse, ProfileId.from_object_key):
            try:
                parse(text)
            except Invalid as error:
                str(error).encode()  # the sentence can be sent

    @given(IDS, st.data())
    def test_an_id_in_which_one_character_is_another_is_another_or_invalid(
        self, one: ProfileId, data: st.DataObject
    ) -> None:
        text = str(one)
        place = data.draw(st.integers(0, len(text) - 1))
        changed = text[:place] + data.draw(st.sampled_from(string.printable)) + text[place + 1 :]
        try:
            found = ProfileId.parse(changed)
        except Invalid:
            return
        assert str(found) == changed
        assert (found == one) is (changed == text)

    @pytest.mark.parametrize(
        "key",
        [
            *("", "_/blocks/1.pb.gz", GOOD, f"{GOOD}.trace", f"{GOOD}.pb", f"{GOOD}.gz", f"{GOOD}.pb.gz.json"),
            *(f"{GOOD}.PB.GZ", f"{GOOD}.pb.gz.pb.gz", f"{GOOD.replace('cpu', 'trace')}.pb.gz"),
        ],
    )
    def test_what_is_no_key_of_a_profile_is_invalid(self, key: str) -> None:
        with pytest.raises(Invalid):
            ProfileId.from_object_key(key)


class TestDigest:
    def test_it_is_that_of_the_objects_that_are_stored_already(self) -> None:
        """A retried post has the id of the first one, whichever version took that: it cannot change."""
        assert ids.profile_digest("api", CPU, Labels.parse("v=1"), NOW, b"data") == "cd47896359c3e950"

    def test_it_tells_apart_whatever_makes_a_profile_another_one(self) -> None:
        one = ("api", CPU, Labels.parse("a=1,b=2"), NOW, b"data")
        others = [
            ("api2", *one[1:]),
            (one[0], ProfileType.HEAP, *one[2:]),
            (*one[:2], Labels.parse("a=1,b=3"), *one[3:]),
            (*one[:2], Labels.parse("a=1"), *one[3:]),
            (*one[:3], NOW + 1, one[4]),
            (*one[:4], b"Data"),
            (*one[:4], b""),
            (*one[:3], NOW // 10, b"9data"),  # no byte moves from one part to another
        ]
        assert len({ids.profile_digest(*each) for each in [one, *others]}) == 1 + len(others)

    def test_it_is_the_same_for_labels_in_another_order(self) -> None:
        assert ids.profile_digest("api", CPU, Labels.parse("b=2,a=1"), NOW, b"") == ids.profile_digest(
            "api", CPU, Labels.parse("a=1,b=2"), NOW, b""
        )

    @given(SERVICES, st.integers(0, LATEST), st.binary(max_size=50))
    def test_it_is_sixteen_hex_digits(self, service: str, created_at: int, data: bytes) -> None:
        assert re.fullmatch("[0-9a-f]{16}", ids.profile_digest(service, CPU, Labels(), created_at, data))
