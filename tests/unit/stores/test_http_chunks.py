"""Bodies that come in chunks, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.stores.http_answer import BrokenOffError, joined

pieces = st.lists(st.binary(min_size=1, max_size=300), max_size=6)
styles = st.lists(
    st.sampled_from([b"%x\r\n", b"%X\r\n", b"00%x\r\n", b"%x;name=value\r\n", b"%x \r\n"]), min_size=6, max_size=6
)
ends = st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n", b"0\r\nExpires: never\r\nA: b\r\n\r\n"])


@given(pieces, styles, ends, st.binary(max_size=20))
def test_a_body_is_what_its_chunks_hold_and_is_not_there_before_the_last(pieces, styles, end, more):
    sent = b"".join(style % len(piece) + piece + b"\r\n" for style, piece in zip(styles, pieces, strict=False))
    sent += end
    assert joined(memoryview(sent + more)) == (b"".join(pieces), len(sent))
    for length in range(len(sent)):
        assert joined(memoryview(sent)[:length]) is None


@pytest.mark.parametrize(
    "sent", [b"\r\n", b"x\r\n", b"-1\r\n", b"0x1\r\n", b"123456789\r\n", b"1\r\nab\r\n", b"1\r\na\r\n;\r\n"]
)
def test_what_is_no_chunk_is_broken_off(sent):
    with pytest.raises(BrokenOffError):
        joined(memoryview(sent))
