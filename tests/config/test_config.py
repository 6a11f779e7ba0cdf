"""A config is read strictly, all errors are reported at once, and a written config reads back."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from bptrain.config import ConfigErrors, StrictConfig, json_schema, load_config, starter, to_yaml
from bptrain.config.strict import MAX_SHOWN
from bptrain.errors import UsageError

Share = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=100)]


class Sgd(StrictConfig):
    """Plain steps."""

    lr: float = Field(default=0.1, gt=0, description="length of a step")
    kind: Literal["sgd"] = "sgd"
    momentum: Share = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def check_nesterov(self) -> "Sgd":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum")
        return self


class Adam(StrictConfig):
    """Adaptive steps."""

    kind: Literal["adam"] = "adam"
    lr: float = Field(default=1e-05, gt=0, le=1)
    betas: tuple[Share, Share] = (0.9, 0.999)


class Digits(StrictConfig):
    kind: Literal["digits"] = "digits"
    batch_size: int = Field(default=64, ge=1)


class Table(StrictConfig):
    kind: Literal["table"] = "table"
    path: str = Field(min_length=1)


class Patience(StrictConfig):
    epochs: int = Field(default=3, ge=1)


class Toy(StrictConfig):
    name: str = Field(default="run", max_length=20, description="what it is called")
    source: Annotated[Digits | Table, Field(discriminator="kind")]
    optimizer: Annotated[Sgd | Adam, Field(discriminator="kind")] = Sgd()
    hidden: list[Width] = Field(default=[8], max_length=3)
    blocks: list[list[Width]] = Field(default=[])
    activation: Literal["relu", "tanh"] = "relu"
    steps: Annotated[int, Field(ge=1)] | None = None
    size: int | Literal["auto"] | list[int] = "auto"
    early_stopping: Patience | None = None
    average: Annotated[Sgd | Adam, Field(discriminator="kind")] | None = None
    notes: dict[str, int] = Field(default={})
    train: Patience = Patience()


SOURCE = "source: {kind: digits}\n"
Load = Callable[..., Toy]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def write_and_load(text: str, *overrides: str) -> Toy:
        Path("c.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        return load_config(Toy, "c.yaml", overrides)

    return write_and_load


@pytest.fixture
def refusal(load: Load) -> Callable[..., str]:
    def load_badly(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigErrors) as caught:
            load(text, *overrides)
        return str(caught.value)

    return load_badly


Refusal = Callable[..., str]


def test_what_is_left_out_takes_its_default(load: Load) -> None:
    assert load(SOURCE) == Toy(source=Digits())


def test_a_section_without_a_kind_is_of_the_default_kind(load: Load) -> None:
    assert load(SOURCE + "optimizer: {lr: 3}").optimizer == Sgd(lr=3.0)
    assert load(SOURCE + "optimizer: {kind: adam}").optimizer == Adam()


def test_a_list_is_taken_for_a_tuple(load: Load) -> None:
    optimizer = load(SOURCE + "optimizer: {kind: adam, betas: [0.5, 0]}").optimizer
    assert optimizer == Adam(betas=(0.5, 0.0))


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sgd().lr = 3.0  # type: ignore[misc]


ERRORS = [
    ("hidden: [-5]", "hidden.0", "-5", "an integer from 1 to 100", ""),
    ("hidden: [1, '2']", "hidden.1", '"2"', "an integer from 1 to 100", "2"),
    ("hidden: 3", "hidden", "3", "a list of at most 3 values, each an integer from 1 to 100", ""),
    ("blocks: [[1], [2, 0]]", "blocks.1.1", "0", "an integer from 1 to 100", ""),
    ("activation: RELU", "activation", "RELU", "one of relu, tanh", "relu"),
    ("steps: 0", "steps", "0", "an integer, at least 1 or null", ""),
    ("steps: 1e3", "steps", "1000.0", "an integer, at least 1 or null", "1000"),
    ("steps: 1_000", "steps", '"1_000"', "an integer, at least 1 or null", "1000"),
    ("size: [x]", "size", "[x]", "an integer or auto or a list, each an integer", ""),
    ("early_stopping: {epochs: 0}", "early_stopping.epochs", "0", "an integer, at least 1", ""),
    ("notes: {a: b}", "notes.a", "b", "an integer", ""),
    ("name: 3", "name", "3", "text of at most 20 characters", ""),
    ("name:", "name", "null", "text of at most 20 characters", ""),
    ("train: []", "train", "[]", "a section with the keys epochs", ""),
    ("nam: x", "nam", "an unknown key", "name, source, optimizer, hidden, blocks", "name"),
    ("train: {lr: 1}", "train.lr", "an unknown key", "epochs", "optimizer.lr"),
    ("train: {name: x}", "train.name", "an unknown key", "epochs", "name"),
    ("optimizer: {lr: 0}", "optimizer.lr", "0", "a number, greater than 0", ""),
    ("optimizer: {lr: .inf}", "optimizer.lr", ".inf", "a number, greater than 0", ""),
    ("optimizer: {momentum: 1}", "optimizer.momentum", "1", "a number, at least 0 and less", ""),
    ("optimizer: {nesterov: yes}", "optimizer.nesterov", '"yes"', "true or false", "true"),
    ("optimizer: {momentun: 0}", "optimizer.momentun", "an unknown key",
     "kind, lr, momentum, nesterov", "momentum"),
    ("optimizer: {betas: 0}", "optimizer.betas", "an unknown key", "kind, lr, momentum", ""),
    ("optimizer: {kind: adam, lr: 2}", "optimizer.lr", "2",
     "a number, greater than 0 and at most 1", ""),
    ("optimizer: {kind: adam, betas: [1, 0]}", "optimizer.betas.0", "1",
     "a number, at least 0 and less than 1", ""),
    ("optimizer: {kind: adam, betas: [0]}", "optimizer.betas.1", "nothing", "a number, at le", ""),
    ("optimizer: {kind: adam, betas: 0}", "optimizer.betas", "0", "a list of 2 values, each a", ""),
    ("optimizer: {kind: adma}", "optimizer.kind", "adma", "one of adam, sgd", "adam"),
    ("optimizer: {kind: [adam]}", "optimizer.kind", "[adam]", "one of adam, sgd", ""),
    ("optimizer: sgd", "optimizer", "sgd", "a section whose kind is one of adam, sgd",
     "optimizer.kind=sgd, or in a file optimizer: {kind: sgd}"),
    ("average: {lr: 1}", "average.kind", "nothing", "one of adam, sgd", ""),
    ("average: {kind: sgd, lr: 0}", "average.lr", "0", "a number, greater than 0", ""),
    ("average: 3", "average", "3", "a section whose kind is one of adam, sgd or null", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "path", "given_", "allowed", "meant"), ERRORS)
def test_an_error_says_where_it_is_what_was_given_and_what_is_allowed(
    refusal: Refusal, line: str, path: str, given_: str, allowed: str, meant: str
) -> None:
    lines = refusal(f"# a comment\n{SOURCE}{line}\n").split("\n")
    assert lines[:2] == [f"error: c.yaml:3: {path}", f"  given:   {given_}"]
    assert lines[2].startswith(f"  allowed: {allowed}")
    assert lines[3:] == ([f"  did you mean: {meant}"] if meant else [])


@pytest.mark.parametrize(
    ("text", "heading", "allowed"),
    [
        ("name: x\n", "c.yaml:1: source", "a section whose kind is one of digits, table"),
        ("name: x\nsource: {batch_size: 3}\n", "c.yaml:2: source.kind", "one of digits, table"),
        ("name: x\nsource:\n  kind: table\n", "c.yaml:2: source.path", "text of 1 or more"),
    ],
)
def test_a_missing_key_is_reported_where_its_section_begins(
    refusal: Refusal, text: str, heading: str, allowed: str
) -> None:
    assert refusal(text).startswith(f"error: {heading}\n  given:   nothing\n  allowed: {allowed}")


def test_the_message_of_a_validator_is_shown(refusal: Refusal) -> None:
    assert refusal(SOURCE + "optimizer: {nesterov: true}") == (
        "error: c.yaml:2: optimizer\n  why:     nesterov needs a momentum"
    )


def test_all_errors_come_at_once_sorted_by_line(refusal: Refusal) -> None:
    text = "blocks: 3\nseed: 1\nname: &x a\nhidden: [0, 1, x]\nname: b\noptimizer: {lr: 0, l: 1}\n"
    headings = [line for line in refusal(text).split("\n") if line.startswith("error")]
    assert [heading.removeprefix("error: c.yaml:") for heading in headings] == [
        "1: source", "1: blocks", "2: seed", "3: name", "4: hidden.0", "4: hidden.2", "5: name",
        "6: optimizer.lr", "6: optimizer.l",
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["name: !!int 3", "name: *a", f"name: {'9' * 5000}"])
def test_what_the_reader_refused_is_not_refused_again_by_the_schema(
    refusal: Refusal, line: str
) -> None:
    assert refusal(SOURCE + line).count("error: ") == 1


def test_a_duplicate_key_is_reported_beside_an_error_in_the_first_one(refusal: Refusal) -> None:
    text = refusal(SOURCE + "steps: 0\nsteps: 1")
    assert text.startswith("error: c.yaml:2: steps\n  given:   0")
    assert "error: c.yaml:3: steps\n  given:   this key again" in text


def test_the_listing_ends_after_fifty_errors(refusal: Refusal) -> None:
    lines = refusal(SOURCE + "".join(f"k{n}: 1\n" for n in range(60))).split("\n")
    assert sum(line.startswith("error: ") for line in lines) == MAX_SHOWN == 50
    assert lines[-1] == "... and 10 more errors"


@pytest.mark.parametrize(
    "line",
    ["hidden: " + "x" * 5000, "? " + "k" * 5000 + "\n: 1", "train: " + "9" * 400, '"a\\nb": 1'],
)
def test_an_error_is_at_most_six_short_lines(refusal: Refusal, line: str) -> None:
    lines = refusal(SOURCE + line).split("\n")
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 200


@pytest.mark.parametrize(("text", "given_"), [("", "nothing"), ("3", "3"), ("- a", "[a]")])
def test_the_top_level_must_be_a_mapping(refusal: Refusal, text: str, given_: str) -> None:
    assert refusal(text).startswith(f"error: c.yaml:1\n  given:   {given_}\n  allowed: a mapping")


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the config"):
        load_config(Toy, tmp_path / name)


def test_overrides_are_read_as_yaml_and_the_last_one_wins(load: Load) -> None:
    words = ["hidden=[1, 2]", "hidden.1=7", "steps=1", "steps=null", "optimizer.lr=1e-3",
             "early_stopping.epochs=2", "name=a=b", "notes.x.=1"]  # fmt: skip
    toy = load(SOURCE + "early_stopping: null\nname: x\n", *words[:-1])
    assert toy == Toy(
        source=Digits(), hidden=[1, 7], optimizer=Sgd(lr=1e-3), name="a=b",
        early_stopping=Patience(epochs=2),
    )  # fmt: skip


def test_an_override_corrects_an_error_of_the_file(load: Load) -> None:
    assert load("hidden: [0]\n", "hidden.0=1", "source.kind=digits").hidden == [1]


@pytest.mark.parametrize(
    ("word", "path", "given_"),
    [
        ("hidden=[1,0]", ": hidden.1", "0"),
        ("hidden.0=0", ": hidden.0", "0"),
        ("average.lr=1", ": average.kind", "nothing"),
        ("nam=x", ": nam", "an unknown key"),
        ("name=!!str x", ": name", "the tag !!str"),
        ("steps", "", "no path of keys and a value"),
        ("=1", "", "no path of keys and a value"),
        ("a..b=1", "", "no path of keys and a value"),
        (".".join("a" * 33) + "=1", "", "no path of keys and a value"),
        ("steps.x=1", "", "steps is 5, which has no keys"),
        ("hidden.1=1", "", "hidden has no item 1"),
        ("hidden=[", ": hidden", "text that is not YAML"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(
    refusal: Refusal, word: str, path: str, given_: str
) -> None:
    lines = refusal(SOURCE + "steps: 5\nhidden: [1]\n", word).split("\n")
    assert lines[:2] == [f"error: override '{word}'{path}", f"  given:   {given_}"]


def test_an_override_that_cannot_be_read_is_one_error(refusal: Refusal) -> None:
    assert refusal(SOURCE, "hidden=" + "[" * 33).count("error: ") == 1


def test_errors_of_overrides_come_after_those_of_the_file(refusal: Refusal) -> None:
    lines = refusal("hidden: [0]\nname: 3\n", "steps=0", "source=3").split("\n")
    headings = [line.removeprefix("error: ") for line in lines if line.startswith("error")]
    assert headings == [
        "c.yaml:1: hidden.0", "c.yaml:2: name", "override 'steps=0': steps",
        "override 'source=3': source",
    ]  # fmt: skip


WIDTHS = st.lists(st.integers(1, 100), max_size=3)
SHARES = st.floats(0, 1, exclude_max=True)
LENGTHS = st.floats(0, 1, exclude_min=True)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=20)
SGDS = st.builds(Sgd, lr=LENGTHS, momentum=SHARES)
ADAMS = st.builds(Adam, lr=LENGTHS, betas=st.tuples(SHARES, SHARES))
SOURCES = st.builds(Digits, batch_size=st.integers(1)) | st.builds(Table, path=NAMES.filter(len))
TOYS = st.builds(
    Toy,
    name=NAMES,
    source=SOURCES,
    optimizer=SGDS | ADAMS,
    hidden=WIDTHS,
    blocks=st.lists(WIDTHS, max_size=3),
    steps=st.none() | st.integers(1, 10**300),
    size=st.integers() | st.just("auto") | st.lists(st.integers(), max_size=3),
    early_stopping=st.none() | st.builds(Patience, epochs=st.integers(1)),
    average=st.none() | SGDS | ADAMS,
    notes=st.dictionaries(NAMES, st.integers(), max_size=3),
)
ONE_FILE = settings(  # too_slow: of a draw on a machine that has other work
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ONE_FILE
@given(TOYS)
@example(Toy(source=Table(path="1e-3"), name="null", optimizer=Adam(lr=1e-05)))
@example(Toy(source=Digits(), optimizer=(same := Sgd(lr=5e-324)), average=same))
def test_a_written_config_reads_back_equal(load: Load, toy: Toy) -> None:
    text = to_yaml(toy)
    assert load(text) == toy
    assert to_yaml(load(text)) == text


@ONE_FILE
@given(TOYS)
def test_a_starter_reads_back_equal(load: Load, toy: Toy) -> None:
    assert load(starter(toy)) == toy


def test_a_written_config_is_plain_to_read() -> None:
    text = to_yaml(Toy(source=Table(path="no"), optimizer=Adam(), notes={"a b": 1}))
    assert text.startswith(
        'name: run\nsource:\n  kind: table\n  path: "no"\noptimizer:\n  kind: adam\n'
        "  lr: 1.0e-05\n  betas: [0.9, 0.999]\nhidden: [8]\nblocks: []\nactivation: relu\n"
    )
    assert text.endswith('notes:\n  "a b": 1\ntrain:\n  epochs: 3\n')


def test_a_starter_says_what_each_key_is_and_may_be() -> None:
    text = starter(Toy(source=Digits()))
    assert text.startswith("# what it is called (text of at most 20 characters)\nname: run\n\n")
    assert (
        "# Plain steps (kinds: adam, sgd)\noptimizer:\n  kind: sgd\n"
        "  # length of a step (a number, greater than 0)\n  lr: 0.1\n"
        "  # a number, at least 0 and less than 1\n  momentum: 0.0\n"
    ) in text
    assert "# one of relu, tanh\nactivation: relu\n" in text
    assert max(map(len, text.split("\n"))) <= 100


def test_the_json_schema_asks_for_a_kind_only_where_there_is_no_default() -> None:
    definitions = json_schema(Toy)["$defs"]
    assert "kind" not in definitions["Sgd"].get("required", [])
    assert definitions["Adam"]["required"] == ["kind"]
    assert definitions["Table"]["required"] == ["kind", "path"]


@ONE_FILE
@given(st.text() | st.text(st.sampled_from("source: {kdgtynm}[]&*!?-|\n\t\"'.1,#")))
def test_any_text_with_any_override_raises_nothing_but_usage_errors(load: Load, text: str) -> None:
    with pytest.raises(UsageError):
        load(text + "\nunknown: 1", text, f"name={text}")


@ONE_FILE
@given(st.binary())
def test_any_bytes_raise_nothing_but_usage_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        load_config(Toy, path, ["unknown=1"])
