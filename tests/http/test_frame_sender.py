"""Frames and the stream below the library: exactly the intended bytes are sent."""

from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from portfolio_trio.http._frame_sender import close_frame, text_frame
from tests.http.frames import read_frames

sizes = st.sampled_from([0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 70_000])
# A str may hold lone surrogates, which no UTF-8 text does.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def parsed(data: bytes) -> list[object]:
    """Return what wsproto, as a client, reads from the bytes."""
    connection = Connection(ConnectionType.CLIENT)
    connection.receive_data(data)
    return list(connection.events())


@given(st.lists(texts | st.builds("é".__mul__, sizes) | st.builds("x".__mul__, sizes), max_size=4))
def test_text_frames_carry_their_messages(messages: list[str]) -> None:
    data = b"".join(map(text_frame, messages))
    assert [frame.text for frame in read_frames(data)] == messages
    events = parsed(data)
    assert all(isinstance(event, TextMessage) and event.message_finished for event in events)
    assert [event.data for event in events if isinstance(event, TextMessage)] == messages


@given(st.sampled_from([1000, 1001, 1002, 1007, 1008, 1009, 1011, 1013, 4000]), texts)
def test_close_frames_are_control_frames_whatever_their_reason(code: int, reason: str) -> None:
    data = close_frame(code, reason)
    assert len(data) <= 127
    (event,) = parsed(data)
    assert isinstance(event, CloseConnection)
    assert event.code == code
    assert event.reason is not None
    assert reason.startswith(event.reason)
    assert event.reason == reason or len(event.reason.encode()) > 123 - 4
