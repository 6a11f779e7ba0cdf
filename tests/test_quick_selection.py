"""The selection of `-m quick` names tests that exist."""

from quick_tests import ONE_CASE_OF_EACH, PLACES, TESTS, TOO_SLOW

WRITTEN = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}


def test_every_place_holds_tests() -> None:
    places = [TESTS / place for place in PLACES]
    assert [at for at in places if not any(path.is_relative_to(at) for path in WRITTEN)] == []


def test_every_file_and_function_that_is_left_out_or_thinned_exists() -> None:
    files = {path.name for path in WRITTEN}
    functions = [name for name in (*TOO_SLOW, *ONE_CASE_OF_EACH) if name not in files]
    texts = "\n".join(WRITTEN.values())
    assert [name for name in functions if f"def {name}(" not in texts] == []
