import socket
import threading

import pytest

from mountd.client.session import Session, SupervisorGoneError, SupervisorSilentError
from mountd.errors import BusyError, MountdError
from mountd.wire.codec import Conversation, ProtocolError, encode
from mountd.wire.messages import Done, Failed, Hello, ListMounts, Mounts, Request


@pytest.fixture
def supervisor():
    """Return a function that gives a session whose other end does what it is told."""
    threads = []

    def behave(act, timeout_s=5.0):
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)

        def run():
            with theirs:
                act(theirs)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return Session(ours, timeout_s=timeout_s)

    yield behave
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def hear(connection):
    """Return the request."""
    conversation = Conversation(Request)
    while not (requests := conversation.feed(connection.recv(1000))):
        pass
    return requests[0]


def answering(*chunks):
    def act(connection):
        hear(connection)
        for chunk in chunks:
            connection.sendall(chunk)

    return act


def test_a_reply_is_heard_in_pieces(supervisor):
    stream = Conversation.greeting() + encode(Mounts(records=[]))
    with supervisor(answering(*(bytes([byte]) for byte in stream))) as session:
        assert session.ask(ListMounts()) == Mounts(records=[])


def test_an_error_is_raised_as_itself(supervisor):
    failed = Failed(error="BusyError", exit_code=6, message="in use")
    session = supervisor(answering(Conversation.greeting(), encode(failed)))
    with session, pytest.raises(BusyError, match="in use"):
        session.ask(ListMounts())


@pytest.mark.parametrize(
    "said",
    [b"", Conversation.greeting(), Conversation.greeting() + encode(Done())[:-1]],
    ids=["nothing", "a greeting", "a greeting and most of an answer"],
)
def test_a_supervisor_that_hangs_up_is_gone(supervisor, said):
    session = supervisor(answering(said))
    with session, pytest.raises(SupervisorGoneError, match="ended before it answered"):
        session.ask(ListMounts())


def test_a_supervisor_that_hangs_up_at_once_is_gone(supervisor):
    with supervisor(lambda connection: None) as session, pytest.raises(SupervisorGoneError):
        session.ask(ListMounts())


def test_a_supervisor_that_says_nothing_is_named(supervisor):
    over = threading.Event()
    with supervisor(lambda connection: over.wait(10), timeout_s=0.1) as session:
        with pytest.raises(SupervisorSilentError, match=r"new mountd supervisor did not answer within 0\.1 s"):
            session.ask(ListMounts())
        over.set()


def test_a_supervisor_that_dribbles_does_not_stretch_the_deadline(supervisor):
    over = threading.Event()

    def dribble(connection):
        hear(connection)
        for byte in Conversation.greeting() * 3:
            if over.wait(0.05):
                return
            connection.sendall(bytes([byte]))

    with supervisor(dribble, timeout_s=0.3) as session:
        with pytest.raises(SupervisorSilentError):
            session.ask(ListMounts())
        over.set()


def test_another_protocol_is_a_clear_error(supervisor):
    session = supervisor(answering(encode(Hello(protocol=99, pid=4711))))
    with session, pytest.raises(ProtocolError, match="process 4711 speaks control protocol 99"):
        session.ask(ListMounts())


def test_an_answer_of_another_kind_of_program_is_a_clear_error(supervisor):
    session = supervisor(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with session, pytest.raises(MountdError, match="not a mountd message"):
        session.ask(ListMounts())
