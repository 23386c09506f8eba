from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likewise.gateway.wire.sse import Splitter, data_of

EVENT = st.lists(
    st.sampled_from([b"data: a", b"data:b", b": ping", b"event: x", b"data: \xe6\x97\xa5"]),
    min_size=1,
    max_size=3,
)
EOL = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(EVENT, EOL), max_size=6), st.data())
def test_any_cut_gives_the_same_events(
    parts: list[tuple[list[bytes], bytes]], data: st.DataObject
) -> None:
    """However a stream is cut on its way, the same events come out, and not a byte is lost."""
    stream = b"".join(b"".join(line + eol for line in lines) + eol for lines, eol in parts)
    whole = Splitter()
    expected = [*whole.feed(stream), whole.rest()]
    splitter, found, rest = Splitter(), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += splitter.feed(rest[:size])
        rest = rest[size:]
    found.append(splitter.rest())
    assert found == expected
    assert b"".join(found) == stream
    assert [d for e in found if (d := data_of(e)) is not None] == [
        b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        for lines, _ in parts
        if any(line.startswith(b"data:") for line in lines)
    ]


def test_mixed_line_ends() -> None:
    """Each line may end in its own way, as the standard allows."""
    splitter = Splitter()
    assert splitter.feed(b"data: a\n\r\ndata: b\r\n\ndata: c") == [
        b"data: a\n\r\n",
        b"data: b\r\n\n",
    ]
    assert data_of(b"data: a\rdata: b\n\n") == b"a\nb"
