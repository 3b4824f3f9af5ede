"""Labels that a merge adds to the samples of some profiles."""

from dataclasses import replace

from hypothesis import given

from profbucket.limits import Limits
from profbucket.pprof.merge import Merger
from tests.support.canonical import canonicalize
from tests.support.profiles import Label, Profile, Sample, Style, encode, profile, profile_sets, stack, styles


def add_label(content: Profile, key: bytes, text: bytes) -> Profile:
    """Return the profile with a label in the place of those with its *key*."""
    samples = (
        replace(sample, labels=(*(label for label in sample.labels if label.key != key), Label(key, text=text)))
        for sample in content.samples
    )
    return replace(content, samples=tuple(samples))


@given(profile_sets(), styles)
def test_a_merge_with_added_labels_is_that_of_profiles_with_them(contents: list[Profile], style: Style) -> None:
    keys = [label.key for content in contents for sample in content.samples for label in sample.labels]
    key = next((key for key in keys if key.isascii() and key), b"service")
    actual, expected = Merger(), Merger()
    for number, content in enumerate(contents):
        if number % 3 == 2:  # one without
            actual.add(encode(content, style))
            expected.add(encode(content, style))
        else:
            actual.add(encode(content, style), label=(key.decode(), f"shop-{number % 2}"))
            expected.add(encode(add_label(content, key, b"shop-%d" % (number % 2)), style))
    assert canonicalize(actual.result()) == canonicalize(expected.result())


def test_profiles_without_samples_and_labels_get_none() -> None:
    merger = Merger(Limits())
    merger.add(encode(profile()), label=("service", "a"))
    merger.add(encode(profile(Sample(stack("main"), (1, 1)))), label=("service", "b"))
    [(_, labels)] = canonicalize(merger.result()).samples
    assert [(label.key, label.text) for label in labels] == [(b"service", b"b")]


def test_a_profile_without_an_added_label_keeps_labels_with_an_empty_key() -> None:
    merger = Merger(Limits())
    merger.add(encode(profile(Sample(stack("main"), (1, 1)))), label=("service", "a"))
    merger.add(encode(profile(Sample(stack("main"), (2, 2), (Label(b"", text=b"own"),)))))
    texts = [[label.text for label in labels] for _, labels in canonicalize(merger.result()).samples]
    assert sorted(texts) == [[b"a"], [b"own"]]
