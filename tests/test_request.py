from likewise.request import Controls, Request


def test_a_request_shows_none_of_its_texts() -> None:
    """Neither the question nor the system prompt is in ``repr``."""
    assert "CANARY" not in repr(Request("CANARY", system="CANARY"))


def test_nothing_is_asked_of_the_cache_by_default() -> None:
    """A plain request names no category and neither skips nor bounds anything."""
    controls = Request("q").controls
    assert controls == Controls()
    assert controls.category is None
    assert not controls.no_cache
    assert not controls.no_store
