"""URLs of web files: what is requested, what is shown, and which sets of them can be shown together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.catalog.web_url import parse_web_url, shown_url, web_spec
from mountd.errors import UsageError


@pytest.mark.parametrize(
    ("text", "url", "shown", "path"),
    [
        ("https://host/a.csv", "https://host/a.csv", "https://host/a.csv", "a.csv"),
        ("HTTPS://Host:8443/A/b", "https://host:8443/A/b", "https://host:8443/A/b", "A/b"),
        ("http://[::1]:80/a", "http://[::1]:80/a", "http://[::1]:80/a", "a"),
        ("https://h/a b/\u00fc", "https://h/a%20b/%C3%BC", "https://h/a%20b/%C3%BC", "a b/\u00fc"),
        ("https://h/a%20b%25%2Fc+d", "https://h/a%20b%25%2Fc+d", "https://h/a%20b%25%2Fc+d", "a b%%2Fc+d"),
        ("https://h/f?t=hunter2&x=%20y", "https://h/f?t=hunter2&x=%20y", "https://h/f?***", "f"),
        ("https://me:hunter2@h/f", "https://me:hunter2@h/f", "https://h/f", "f"),
        ("https://hunter2@h/f?", "https://hunter2@h/f?", "https://h/f?***", "f"),
        ("https://me:hunter2%40@h/f?q", "https://me:hunter2%40@h/f?q", "https://h/f?***", "f"),
        ("https://h//double/f", "https://h//double/f", "https://h//double/f", "double/f"),
    ],
)
def test_a_url_is_requested_as_it_must_be_and_shown_without_secrets(text, url, shown, path):
    address = parse_web_url(text)
    assert (address.url, address.shown, address.path) == (url, shown, path)
    assert address.file_name == path.rpartition("/")[2]
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("https:///f", "its host is missing"),
        ("https://a b/f", "its host is missing"),
        ("https://me:hunter2/@h/f", "https://***: its host is missing"),
        ("https://h:99999/f", "its host is missing"),
        ("https://h", "no file to name"),
        ("https://h/dir/", "no file to name"),
        ("https://h/?file=x&t=hunter2", "no file to name"),
        ("https://h/f#part", "write %23 for a #"),
        ("https://h/100%", "write %25 for a %"),
        ("https://h/%FF", "not UTF-8"),
        ("https://h/a%00b", "NUL"),
        ("https://h/a\nb", "control character"),
        ("https://h/a/../b", "`.` or `..` segment"),
        ("https://h/a/%2e%2E", "`.` or `..` segment"),
        ("https://me:hunter2@h/" + "n" * 256, "longer than 255 bytes"),
        ("https://h/\udc80", "malformed"),
    ],
)
def test_what_names_no_file_is_refused_in_one_line(text, part):
    with pytest.raises(UsageError) as caught:
        parse_web_url(text)
    assert part in caught.value.message
    assert "hunter2" not in caught.value.message
    assert caught.value.message.isprintable()


@given(st.text(max_size=30))
def test_any_text_behind_a_host_is_a_file_or_refused(text):
    try:
        address = parse_web_url("http://me:hunter2@host/" + text)
    except UsageError as error:
        assert "hunter2" not in error.message
        return
    assert "hunter2" not in address.shown
    assert address.url.isascii()
    assert address.url.isprintable()
    assert parse_web_url(address.url) == address


def test_what_is_no_url_is_not_shown_at_all():
    assert shown_url("hunter2") == "***"


class TestSets:
    def spec(self, *files):
        return web_spec([(key, parse_web_url(url)) for key, url in files])

    def test_names_for_people(self):
        assert self.spec(("f", "https://h/d/f?t=hunter2")).name == "https://h/d"
        assert self.spec(("x", "https://h/d/f")).name == "web files of h"
        assert self.spec(("a", "https://h/a"), ("b", "https://h/b")).name == "web files of h"
        assert self.spec(("a", "https://h/a"), ("b", "https://i/b")).name == "web files of 2 hosts"

    def test_secrets_are_not_in_their_repr(self):
        assert "hunter2" not in repr(self.spec(("f", "https://me:hunter2@h/f?t=hunter2")))

    @pytest.mark.parametrize(
        ("files", "part"),
        [
            ([], "at least one URL"),
            ([("a", "https://h/a?t=hunter2"), ("a", "https://i/a")], "https://h/a?*** and https://i/a: both"),
            ([("a", "https://h/a"), ("a/b/c", "https://h/c")], "https://h/a and https://h/c: 'a' would be a file and"),
            ([("a/b/c", "https://h/c"), ("a/b", "https://h/a")], "'a/b' would be a file and a directory"),
            ([("a//b", "https://h/b")], "cannot be shown as 'a//b'"),
            ([("../b", "https://h/b")], "cannot be shown as '../b'"),
            ([("", "https://h/b")], "cannot be shown as ''"),
        ],
    )
    def test_files_in_each_others_way_are_named(self, files, part):
        with pytest.raises(UsageError) as caught:
            self.spec(*files)
        assert part in caught.value.message
        assert "hunter2" not in caught.value.message
