"""Profile ids and object keys: unambiguous, URL-safe and stable."""

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
    type=st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True).filter("unknown".__ne__).map(ProfileType),
    created_at=st.integers(0, LATEST),
    digest=st.text("0123456789abcdef", min_size=16, max_size=16),
)
GOOD = "api/cpu/20261122T225107.123456789Z-0123456789abcdef"


class TestServices:
    @given(SERVICES)
    def test_escaping_round_trips(self, service: str) -> None:
        assert ids.unescape_service(ids.escape_service(service)) == service

    @given(SERVICES)
    def test_an_escaped_name_is_safe_in_urls_shells_and_file_systems(self, service: str) -> None:
        escaped = ids.escape_service(service)
        assert re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", escaped)  # not hidden, not ".", not ".."
        assert quote(escaped, safe="") == escaped
        assert escaped != ids.RESERVED

    @given(SERVICES, SERVICES)
    def test_different_services_have_different_prefixes(self, a: str, b: str) -> None:
        if a != b:
            assert ids.escape_service(a) != ids.escape_service(b)
            assert not ids.profile_prefix(a).startswith(ids.profile_prefix(b))

    @pytest.mark.parametrize(
        ("service", "escaped"),
        [
            ("api-server_v1.2", "api-server_v1.2"),
            ("a/b", "a~2Fb"),
            ("a b", "a~20b"),
            ("größe", "gr~C3~B6~C3~9Fe"),
            ("🔥", "~F0~9F~94~A5"),
            ("~", "~7E"),
            ("_", "~5F"),  # "_/" is reserved
            ("__", "__"),
            ("_a", "_a"),
            (".", "~2E"),
            ("..", "~2E."),
            (".hidden", "~2Ehidden"),
            ("a..b", "a..b"),
            ("a\0b\n", "a~00b~0A"),
        ],
    )
    def test_the_escaped_form_does_not_change(self, service: str, escaped: str) -> None:
        """Part of the keys of stored objects."""
        assert ids.escape_service(service) == escaped

    @pytest.mark.parametrize(
        "text",
        [
            *("", "_", ".", "..", ".hidden", "a/b", "a b", "%2F", "ü", "a\n", "\ud800"),
            *("~", "~2", "~2f", "~G0", "~61", "~FF", "~C3"),
            *("~ED~A0~80", "~C0~80", "~F4~90~80~80"),  # a surrogate, overlong, beyond Unicode
        ],
    )
    def test_unescaping_rejects_what_escaping_never_returns(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            ids.unescape_service(text)

    @given(st.text(st.sampled_from("~0123456789ABCDEFabcxyz._-/%é")) | st.text())
    def test_any_text_is_unescaped_or_a_value_error(self, text: str) -> None:
        try:
            service = ids.unescape_service(text)
        except ValueError:
            return
        assert ids.escape_service(service) == text

    @pytest.mark.parametrize(
        ("service", "code", "message"),
        [
            ("", "missing_parameter", "service is missing"),
            ("a\nb", "invalid_service", r"control character in the service name 'a\\nb'"),
            ("\0", "invalid_service", "control character"),
            ("\ud800", "invalid_service", "control character"),
            (
                "x" * 201,
                "max_service_bytes_exceeded",
                r"the service name has 201 bytes, escaped; the limit is 200 \(PROFBUCKET_MAX_SERVICE_BYTES\)",
            ),
            ("x" * 4096, "max_service_bytes_exceeded", "4096 bytes"),
            ("🔥" * 17, "max_service_bytes_exceeded", "204 bytes"),
        ],
    )
    def test_invalid_service_names(self, service: str, code: str, message: str) -> None:
        with pytest.raises(Invalid, match=message) as caught:
            ids.check_service(service, Limits())
        assert caught.value.code == code

    @pytest.mark.parametrize("service", ["_", "..", "a/b c", "🔥" * 16, "x" * 200])
    def test_valid_service_names_fit_into_a_file_name(self, service: str) -> None:
        ids.check_service(service, Limits())
        key = ProfileId(service, CPU, NOW, "0" * 16).object_key
        assert all(len(part) <= 240 for part in key.split("/"))

    def test_prefixes_end_with_a_slash(self) -> None:
        assert ids.profile_prefix("api") == "api/"
        assert ids.profile_prefix("api", CPU) == "api/cpu/"
        assert ids.profile_prefix("a/b", TRACE) == "a~2Fb/trace/"


class TestIds:
    @given(IDS)
    def test_ids_and_object_keys_round_trip(self, profile_id: ProfileId) -> None:
        assert ProfileId.parse(str(profile_id)) == profile_id
        assert ProfileId.from_object_key(profile_id.object_key) == profile_id
        assert profile_id.object_key.removesuffix(".pb.gz").removesuffix(".trace") == str(profile_id)

    @given(IDS)
    def test_ids_need_no_escaping_and_contain_no_plus(self, profile_id: ProfileId) -> None:
        assert re.fullmatch("[A-Za-z0-9._~/-]+", str(profile_id))
        assert [part for part in str(profile_id).split("/") if part.startswith(".") or part in ("", "_")] == []

    @given(st.lists(st.integers(0, LATEST), min_size=2), SERVICES)
    def test_ids_sort_by_time(self, times: list[int], service: str) -> None:
        ids = [ProfileId(service, CPU, time, "0" * 16) for time in times]
        assert sorted(map(str, ids)) == [str(item) for item in sorted(ids, key=lambda item: item.created_at)]

    @given(IDS)
    def test_object_keys_start_with_the_prefix_of_their_service_and_type(self, profile_id: ProfileId) -> None:
        assert profile_id.object_key.startswith(ids.profile_prefix(profile_id.service))
        assert profile_id.object_key.startswith(ids.profile_prefix(profile_id.service, profile_id.type))
        assert ids.profile_prefix(profile_id.service, profile_id.type).count("/") == 2

    def test_the_text_of_an_id_does_not_change(self) -> None:
        """Part of the keys of stored objects."""
        profile_id = ProfileId("api", CPU, NOW, "0123456789abcdef")
        assert str(profile_id) == GOOD
        assert profile_id.object_key == f"{GOOD}.pb.gz"
        assert (
            replace(profile_id, type=TRACE).object_key
            == "api/trace/20261122T225107.123456789Z-0123456789abcdef.trace"
        )

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
            GOOD.replace("api", "~61pi"),  # the same service, not in canonical form
            GOOD.replace("api", "%61pi"),
            GOOD.replace("api", "api//"),
            GOOD.replace("cpu", "a" * 64),
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
    def test_invalid_ids(self, text: str) -> None:
        with pytest.raises(Invalid) as caught:
            ProfileId.parse(text)
        assert caught.value.code == "invalid_profile_id"
        assert len(str(caught.value)) < 400
        with pytest.raises(Invalid):
            ProfileId.from_object_key(f"{text}.pb.gz")

    @given(st.text(st.sampled_from("api/cpu20261122T.Z-~_") | st.characters()))
    def test_any_text_is_an_id_or_invalid(self, text: str) -> None:
        for parse in (ProfileId.parse, ProfileId.from_object_key):
            try:
                parse(text)
            except Invalid as error:
                str(error).encode()  # the message can be sent

    @given(IDS, st.data())
    def test_an_id_with_one_character_changed_is_another_id_or_invalid(
        self, profile_id: ProfileId, data: st.DataObject
    ) -> None:
        text = str(profile_id)
        place = data.draw(st.integers(0, len(text) - 1))
        changed = text[:place] + data.draw(st.sampled_from(string.printable)) + text[place + 1 :]
        try:
            parsed = ProfileId.parse(changed)
        except Invalid:
            return
        assert str(parsed) == changed
        assert (parsed == profile_id) is (changed == text)

    @pytest.mark.parametrize(
        "key",
        [
            *("", "_/blocks/1.pb.gz", GOOD, f"{GOOD}.trace", f"{GOOD}.pb", f"{GOOD}.gz", f"{GOOD}.pb.gz.json"),
            *(f"{GOOD}.PB.GZ", f"{GOOD}.pb.gz.pb.gz", f"{GOOD.replace('cpu', 'trace')}.pb.gz"),
        ],
    )
    def test_invalid_object_keys(self, key: str) -> None:
        with pytest.raises(Invalid):
            ProfileId.from_object_key(key)


class TestDigest:
    def test_the_digest_does_not_change(self) -> None:
        """A retried upload has the id of the first one, even if another version of the collector stored that."""
        assert ids.profile_digest("api", CPU, Labels.parse("v=1"), NOW, b"data") == "cd47896359c3e950"

    def test_it_depends_on_everything_that_identifies_a_profile(self) -> None:
        first = ("api", CPU, Labels.parse("a=1,b=2"), NOW, b"data")
        others = [
            ("api2", *first[1:]),
            (first[0], ProfileType.HEAP, *first[2:]),
            (*first[:2], Labels.parse("a=1,b=3"), *first[3:]),
            (*first[:2], Labels.parse("a=1"), *first[3:]),
            (*first[:3], NOW + 1, first[4]),
            (*first[:4], b"Data"),
            (*first[:4], b""),
            (*first[:3], NOW // 10, b"9data"),  # parts are delimited
        ]
        assert len({ids.profile_digest(*each) for each in [first, *others]}) == 1 + len(others)

    def test_it_does_not_depend_on_the_order_of_labels(self) -> None:
        assert ids.profile_digest("api", CPU, Labels.parse("b=2,a=1"), NOW, b"") == ids.profile_digest(
            "api", CPU, Labels.parse("a=1,b=2"), NOW, b""
        )

    @given(SERVICES, st.integers(0, LATEST), st.binary(max_size=50))
    def test_it_has_sixteen_hex_digits(self, service: str, created_at: int, data: bytes) -> None:
        assert re.fullmatch("[0-9a-f]{16}", ids.profile_digest(service, CPU, Labels(), created_at, data))
