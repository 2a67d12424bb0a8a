import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd import errors
from mountd.errors import MountdError, UsageError
from mountd.wire.codec import MAX_FRAME_BYTES, Conversation, ProtocolError, encode, pack, unpack
from mountd.wire.messages import (
    PROTOCOL,
    AskReport,
    Done,
    Ended,
    Failed,
    Hello,
    ListMounts,
    Mounted,
    MountRecord,
    Mounts,
    News,
    Order,
    Ready,
    Reply,
    Report,
    Request,
    Shutdown,
    Status,
    Step,
    Stop,
    Unmount,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**40)
records = st.builds(
    MountRecord,
    name=texts,
    mountpoint=texts,
    source=texts,
    mode=texts,
    state=st.sampled_from(["starting", "ready", "not answering"]),
    since=st.floats(0, 1e10),
    supervisor_pid=numbers,
    worker_pid=st.none() | numbers,
    last_error=st.none() | texts,
    details=st.dictionaries(texts, texts, max_size=3),
    statistics=st.none() | st.dictionaries(texts, numbers | st.lists(texts, max_size=2), max_size=3),
)
failures = st.builds(Failed, error=texts, exit_code=st.integers(0, 7), message=texts)
replies = st.one_of(
    st.builds(Mounted, record=records),
    st.builds(Mounts, records=st.lists(records, max_size=3)),
    st.just(Done()),
    failures,
)
requests = st.one_of(
    st.builds(Unmount, mountpoint=texts, lazy=st.booleans()),
    st.just(ListMounts()),
    st.builds(Status, mountpoint=st.none() | texts),
    st.just(Shutdown()),
)
news = st.one_of(
    st.builds(Step, name=texts),
    st.just(Ready()),
    st.builds(
        Report, serial=numbers, details=st.dictionaries(texts, texts), statistics=st.dictionaries(texts, numbers)
    ),
    st.builds(Ended, reason=texts),
    failures,
)
orders = st.builds(AskReport, serial=numbers) | st.just(Stop())


@pytest.mark.parametrize(
    ("kind", "values"),
    [(Reply, replies), (Request, requests), (News, news), (Order, orders)],
    ids=["reply", "request", "news", "order"],
)
def test_every_message_arrives_as_it_was_sent_however_the_stream_is_cut(kind, values):
    @given(sent=st.lists(values, max_size=5), data=st.data())
    def check(sent, data):
        stream = Conversation.greeting() + b"".join(encode(message) for message in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        conversation = Conversation(kind)
        received = []
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            received += conversation.feed(stream[start:stop])
        assert received == sent
        assert not conversation.inside_frame
        assert conversation.peer is not None

    check()


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_on_but_never_a_message(garbage):
    conversation = Conversation(Reply)
    try:
        received = conversation.feed(garbage)
    except ProtocolError:
        return
    assert received == []


def test_a_frame_that_claims_too_much_is_refused_before_it_arrives():
    with pytest.raises(ProtocolError, match="not a mountd message"):
        Conversation(Reply).feed(struct.pack(">I", MAX_FRAME_BYTES + 1))


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(ProtocolError, match="over the limit"):
        encode(Step(name="x" * (MAX_FRAME_BYTES + 1)))


def test_the_limit_leaves_room_for_the_status_of_a_thousand_mounts():
    record = MountRecord(
        name="n" * 20, mountpoint="/m" * 50, source="s" * 200, mode="auto", state="ready", since=1e9, supervisor_pid=1,
        details={"mode": "m" * 60, "read-ahead": "4096 KiB"}, statistics=dict.fromkeys(map(str, range(20)), 2**40),
    )  # fmt: skip
    assert len(encode(Mounts(records=[record] * 1000))) < MAX_FRAME_BYTES / 3


def test_another_protocol_is_named_with_the_process_that_speaks_it():
    conversation = Conversation(Reply)
    with pytest.raises(ProtocolError, match=rf"process 4711 speaks control protocol {PROTOCOL + 1}.*`kill 4711`"):
        conversation.feed(encode(Hello(protocol=PROTOCOL + 1, pid=4711)))


def test_nothing_is_understood_before_the_greeting():
    with pytest.raises(ProtocolError, match="is not mountd"):
        Conversation(Reply).feed(encode(Done()))


def test_a_message_of_the_other_direction_is_refused():
    conversation = Conversation(Request)
    with pytest.raises(ProtocolError, match="not understood"):
        conversation.feed(Conversation.greeting() + encode(Done()))


def test_the_end_of_the_stream_inside_a_frame_can_be_told():
    conversation = Conversation(Reply)
    conversation.feed(Conversation.greeting() + encode(Done())[:-1])
    assert conversation.inside_frame


def test_a_carried_value_keeps_infinity_and_none():
    class Carried(msgspec.Struct):
        ttl_s: float
        size: int | None

    assert unpack(pack(Carried(math.inf, None)), Carried) == Carried(math.inf, None)


def test_a_carried_value_of_another_kind_is_refused():
    class Carried(msgspec.Struct):
        size: int

    with pytest.raises(ProtocolError, match="valid Carried"):
        unpack(pack({"size": "large"}), Carried)


def error_classes():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MountdError)]
    assert len(kinds) > 10
    return kinds


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_an_error_crosses_as_its_own_class(kind):
    arrived = Failed.from_error(kind("it\nfailed")).to_error()
    assert type(arrived) is kind
    assert arrived.message == "it failed"


@pytest.mark.parametrize("exit_code", range(1, 8))
def test_an_unknown_error_keeps_its_exit_code(exit_code):
    assert Failed(error="NewerError", exit_code=exit_code, message="x").to_error().exit_code == exit_code


def test_an_error_class_cannot_name_something_else_of_the_module():
    assert type(Failed(error="ClassVar", exit_code=3, message="x").to_error()) is errors.NotFoundError


@pytest.mark.parametrize("send", [pack, encode])
def test_text_that_is_not_unicode_is_the_senders_mistake(send):
    with pytest.raises(UsageError, match=r"^'/data/\\udcff': is not UTF-8"):
        send(Status(mountpoint="/data/\udcff"))
