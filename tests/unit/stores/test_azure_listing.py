"""List Blobs pages: names survive, markers are directories, nothing half-understood gets through."""

from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from mountd.errors import CorruptError
from mountd.stores import azure_listing
from mountd.stores.azure_listing import holds_entries, http_date_ns, parse_page, plain_marker
from mountd.stores.base import ObjectInfo, Page

NOT_IN_XML = "".join(map(chr, [*range(0x20)])) + "\ufffe\uffff"


def blob(name, *, size="5", etag="0x8DD", date="Wed, 12 Nov 2025 10:00:00 GMT", metadata="", encoded=""):
    return (
        f"<Blob><Name{encoded}>{name}</Name><Properties><Creation-Time>x</Creation-Time>"
        f"<Last-Modified>{date}</Last-Modified><Etag>{etag}</Etag><Content-Length>{size}</Content-Length>"
        f"<BlobType>BlockBlob</BlobType></Properties>{metadata}<OrMetadata/></Blob>"
    )


def prefix_entry(name):
    return f"<BlobPrefix><Name>{name}</Name></BlobPrefix>"


def document(*entries, marker="", head="<?xml version='1.0' encoding='utf-8'?>"):
    body = "".join(entries)
    return (
        f"{head}<EnumerationResults ServiceEndpoint='http://h/' ContainerName='c'><Prefix/><Blobs>{body}</Blobs>"
        f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
    ).encode()


def test_a_page_in_full():
    page = parse_page(document(prefix_entry("d/x/"), blob("d/a"), marker="2!next&amp;"), "d/", "list")
    when = 1762941600 * 10**9
    assert page == Page([ObjectInfo("d/a", 5, when, '"0x8DD"')], ["d/x"], "2!next&")


def test_the_last_page_has_no_next():
    assert parse_page(document(), "", "list") == Page([], [], None)
    assert parse_page(document().replace(b"<NextMarker></NextMarker>", b"<NextMarker />"), "", "list").next is None


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_characters=NOT_IN_XML, exclude_categories=["Cs"]), min_size=1).map(lambda t: t + "x")
)
def test_any_name_survives_escaping(name):
    page = parse_page(document(blob(escape(name, {"\r": "&#13;"}))), "", "list")
    assert [info.key for info in page.objects] == [name]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda t: t + "x"))
def test_any_name_survives_percent_encoding(name):
    page = parse_page(document(blob(quote(name, safe=""), encoded=' Encoded="true"')), "", "list")
    assert [info.key for info in page.objects] == [name]


def test_a_percent_sign_in_a_plain_name_is_a_percent_sign():
    assert parse_page(document(blob("a%20b")), "", "list").objects[0].key == "a%20b"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b/", "c", "m", "n/"]), unique=True))
def test_blobs_prefixes_and_markers_in_any_mix(names):
    entries = [
        prefix_entry(name)
        if name == "b/"
        else blob(
            name, size="0", metadata="<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>" if name == "m" else ""
        )
        for name in names
    ]
    page = parse_page(document(*entries), "", "list")
    assert [info.key for info in page.objects] == [name for name in names if name in {"a", "c"}]
    assert set(page.directories) == {name.removesuffix("/") for name in names if name in {"b/", "m", "n/"}}


def test_a_marker_and_its_prefix_are_one_directory():
    marker = blob("d", size="0", metadata="<Metadata><Hdi_IsFolder>True</Hdi_IsFolder><x>y</x></Metadata>")
    assert parse_page(document(marker, prefix_entry("d/")), "", "list") == Page([], ["d"], None)


@pytest.mark.parametrize(
    ("size", "metadata"),
    [
        ("5", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
        ("0", "<Metadata><hdi_isfolder>false</hdi_isfolder></Metadata>"),
        ("0", "<Metadata><other>true</other></Metadata>"),
        ("0", "<Metadata/>"),
        ("0", ""),
    ],
)
@pytest.mark.parametrize("others", [[], [prefix_entry("e/")]])
def test_what_is_no_marker_is_an_object(size, metadata, others):
    page = parse_page(document(blob("d", size=size, metadata=metadata), *others), "", "list")
    assert [info.key for info in page.objects] == ["d"]


def test_the_directory_itself_is_not_its_own_child():
    assert parse_page(document(blob("d/", size="0"), blob("d/a")), "d/", "list").directories == []


def test_an_empty_segment_is_a_directory():
    assert parse_page(document(prefix_entry("a//")), "a/", "list").directories == ["a/"]


@pytest.mark.parametrize("etag", ['"0x8DD"', "0x8DD"])
def test_etags_get_their_quotes(etag):
    assert parse_page(document(blob("a", etag=etag)), "", "list").objects[0].etag == '"0x8DD"'


def test_metadata_that_looks_like_fields_changes_nothing():
    """People may name their metadata as the service names its fields."""
    metadata = "<Metadata><Name>x</Name><Etag>y</Etag><Blob>z</Blob><Encoded>true</Encoded></Metadata>"
    page = parse_page(document(blob("a", metadata=metadata), blob("b")), "", "list")
    assert [(info.key, info.etag) for info in page.objects] == [("a", '"0x8DD"'), ("b", '"0x8DD"')]


PARTS = {
    "Name": "<Name>a</Name>",
    "Properties": "<Properties>{}</Properties>",
    "Metadata": "<Metadata><mtime>1</mtime></Metadata>",
    "a folder": "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>",
    "fields in metadata": "<Metadata><Name>b</Name><Etag>2</Etag></Metadata>",
    "Tags": "<Tags><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tags>",
    "Etag": "<Etag>0x8DD</Etag>",
    "Content-Length": "<Content-Length>5</Content-Length>",
    "no bytes": "<Content-Length>0</Content-Length>",
    "Last-Modified": "<Last-Modified>Wed, 12 Nov 2025 10:00:00 GMT</Last-Modified>",
}
OUTSIDE, INSIDE = ["Name", "Properties"], ["Content-Length", "Last-Modified", "Etag"]


@st.composite
def damaged_pages(draw):
    """Entries that are alike, of which some have parts added, taken away, doubled or moved."""
    inside = draw(st.permutations(INSIDE))
    if draw(st.booleans()):
        inside[inside.index("Content-Length")] = "no bytes"
    more = draw(st.lists(st.sampled_from(["Metadata", "Tags", "a folder"]), unique=True, max_size=2))
    entries = [([*OUTSIDE, *more], [*inside], "Blob") for _ in range(draw(st.integers(1, 4)))]
    for _ in range(draw(st.integers(0, 3))):
        outer, inner, _ = draw(st.sampled_from(entries))
        which = draw(st.sampled_from([outer, inner]))
        kind = draw(st.sampled_from(["add", "take", "swap"]))
        if kind == "add":
            which.insert(draw(st.integers(0, len(which))), draw(st.sampled_from(sorted(PARTS))))
        elif which and kind == "take":
            which.pop(draw(st.integers(0, len(which) - 1)))
        elif len(which) > 1:
            which.reverse()
    return entries


@settings(deadline=None, max_examples=1000)
@given(damaged_pages())
def test_pages_read_by_columns_hold_what_their_entries_hold_one_by_one(entries):
    def text(outer, inner, tag):
        fields = "".join(PARTS[name].format("") for name in inner)
        return f"<{tag}>{''.join(PARTS[name].format(fields) for name in outer)}</{tag}>"

    root = etree.fromstring(document(*[text(*entry) for entry in entries]))
    blobs = root.find("Blobs")
    by_columns = azure_listing._alike(blobs)
    if by_columns is not None:
        assert list(by_columns) == list(azure_listing._one_by_one(blobs))
    undamaged = all(entry == ([*OUTSIDE], [*INSIDE], "Blob") for entry in entries)
    assert by_columns is not None or not undamaged


def test_an_ordinary_page_is_read_by_columns():
    entries = [blob(f"d/{index}", metadata=metadata) for index in range(3) for metadata in ("", "<Metadata/>")]
    root = etree.fromstring(document(*entries, blob("d/e", size="0")))
    assert azure_listing._alike(root.find("Blobs")) is not None


@pytest.mark.parametrize(
    "entry",
    [
        blob("a").replace("<Name>a</Name>", "<Metadata><Name>q</Name></Metadata>"),
        blob("a").replace("Properties", "Metadata"),
        blob("a").replace("<Etag>0x8DD</Etag>", "").replace("</Properties>", "</Properties><Etag>0x8DD</Etag>"),
        blob("a").replace("</Blob>", "<Properties/></Blob>"),
        "<Blob><Name>a</Name><Properties/></Blob>" + blob("b"),
    ],
)
def test_fields_of_one_entry_are_not_taken_for_those_of_another(entry):
    with pytest.raises(CorruptError):
        parse_page(document(blob("first"), entry), "", "list")


@pytest.mark.parametrize(
    ("end", "marker"),
    [
        ("<NextMarker>2!92!MDAwMDE2!-_=</NextMarker></EnumerationResults>", "2!92!MDAwMDE2!-_="),
        ("<NextMarker>2</NextMarker>\n</EnumerationResults>\r\n", "2"),
        ("<NextMarker/></EnumerationResults>", None),
        ("<NextMarker></NextMarker></EnumerationResults>", None),
        ("<NextMarker>a&amp;b</NextMarker></EnumerationResults>", None),
        ("<NextMarker>ä</NextMarker></EnumerationResults>", None),
        ("<NextMarker>2</NextMarker><Blobs/></EnumerationResults>", None),
        ("<!-- <NextMarker>2</NextMarker></EnumerationResults> -->", None),
        (f"<NextMarker>{'x' * 10_000}</NextMarker></EnumerationResults>", None),
    ],
)
def test_a_plain_marker_is_seen_at_the_end_of_a_page(end, marker):
    assert plain_marker(document(blob("a")).partition(b"<NextMarker>")[0] + end.encode()) == marker


@pytest.mark.parametrize(
    "body",
    [
        document(prefix_entry("elsewhere/")),
        document(blob("d/a", size=""), blob("d/b")),
        document(blob("d/a", etag="")),
        document(blob("elsewhere/a")),
        document(blob("")),
        document(blob("d/a", size="many")),
        document(blob("d/a", date="yesterday")),
        document(blob("d/a")).replace(b"Etag", b"Tag"),
        document(blob("d/a"))[:-30],
        document(blob("d/a")).replace(b"EnumerationResults", b"Other"),
        document(blob("d/&secret;"), head='<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/hostname">]>'),
        document(blob("d/a"), head='<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'),
        document(blob("d/%ff", encoded=' Encoded="true"')),
        b"\0\1",
    ],
)
def test_what_is_not_understood_is_not_guessed(body):
    with pytest.raises(CorruptError, match="list acct/box/d") as caught:
        parse_page(body, "d/", "list acct/box/d")
    assert caught.value.__context__ is None


def test_holds_entries_counts_markers_too():
    assert holds_entries(document(blob("d/", size="0"), marker="n"), "list") == (True, "n")
    assert holds_entries(document(prefix_entry("d/")), "list") == (True, None)
    assert holds_entries(document(marker="n"), "list") == (False, "n")


@pytest.mark.parametrize("metadata", ["<Metadata/>", "<Metadata><mtime>1</mtime></Metadata>"])
def test_blobs_of_any_size_with_and_without_metadata(metadata):
    entries = [blob(name, size=size, metadata=metadata) for name, size in (("a", "0"), ("b", "00"), ("c", "7"))]
    assert [info[:2] for info in parse_page(document(*entries), "", "list").objects] == [("a", 0), ("b", 0), ("c", 7)]


def test_dates():
    assert http_date_ns("Thu, 01 Jan 1970 00:00:01 GMT") == 10**9
    assert http_date_ns("Tue, 29 Feb 2028 23:59:59 GMT") == 1835481599 * 10**9
    for wrong in ("", "now", "Thu, 01 Foo 1970 00:00:01 GMT", "Thu, 01 Jan 1970 00:00 GMT"):
        with pytest.raises(ValueError):
            http_date_ns(wrong)
