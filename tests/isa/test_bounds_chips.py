"""Files of chips that are described by bounds alone: whatever is in one, a RooflineChip or a ChipError."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.bounds_chip import ROOFLINE_FIELDS, RooflineChip
from isa.chip import CHIPS, Chip, load_chip, load_description
from isa.errors import ChipError
from tests.isa.test_chip_files import values

NAMES = ("a800", "biren104", "h20", "metax")
A800 = (CHIPS / "a800.toml").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files_load_and_say_where_numbers_come_from(name):
    chip = load_description(name)
    assert isinstance(chip, RooflineChip) and chip.name == name
    assert list(chip.values) == list(ROOFLINE_FIELDS)
    numbers = [key for key, (kind, *_) in ROOFLINE_FIELDS.items() if kind != "word"]
    assert all(chip[key] is None or (chip[key] > 0 and chip.sources[key]) for key in numbers)
    assert chip["roofline.int16_tops"] is None
    assert "bounds alone" in chip["chip.about"]


def test_published_numbers():
    assert load_description("a800")["roofline.int8_tops"] == 624
    assert load_description("h20")["roofline.memory_gb_per_second"] == 4000
    assert load_description("biren104")["roofline.fp16_tops"] == 512
    metax = load_description("metax")
    assert metax["roofline.fp16_tops"] == pytest.approx(984e3 / 4096, rel=0.01)
    assert metax.sources["roofline.fp16_tops"].startswith("inferred")


@pytest.mark.parametrize("name", NAMES)
def test_they_have_no_cycles(name):
    with pytest.raises(ChipError) as caught:
        load_chip(name)
    assert caught.value.message == (
        f"{name} is described by bounds alone, without cycles: a GPU is not made of TE, PE and ME"
    )
    assert caught.value.help == f"`ratel time --chip {name} FILE` gives bounds, as ratel.bounds does in Python"


def test_overrides_change_numbers_and_their_source():
    chip = load_description("a800", roofline__int8_tops=1000, **{"roofline.watts": "?"})
    assert (chip["roofline.int8_tops"], chip["roofline.watts"]) == (1000, None)
    assert (chip.sources["roofline.int8_tops"], chip.sources["roofline.fp16_tops"]) == ("set", "N1, dense")


def changed(old, new):
    assert A800.count(old) == 1, old
    return A800.replace(old, new)


RANGE = (
    'expected a number from 1e-06 to 1000000000, or "?" where it is not public '
    "(peak of products of 8 bits, 10^12 operations a second)"
)
BAD_FILES = [
    ("[roofline]", "lacks chip.name, chip.about, roofline.int8_tops", "chip.name: name"),
    ("roofline = 3", "roofline is 3", "expected a section, [roofline]"),
    (changed("watts = 400", "wats = 400"), "unknown key roofline.wats", "did you mean `roofline.watts`?"),
    (changed("watts = 400\n", ""), "lacks roofline.watts", "roofline.watts: power, W"),
    (
        changed('source.watts = "N1"\n', ""),
        "no source is given for roofline.watts",
        'cite one, or write "assumed"',
    ),
    (A800 + "[te]\nkind = 'systolic'\n", "unknown key te", "known here: chip, roofline"),
    (A800.replace("[roofline]", "[rooflin]"), "unknown key rooflin", None),
    (changed('name = "a800"', "name = 7"), "chip.name is 7", "expected a line of text (name)"),
    (
        changed("process_nm = 7", 'process_nm = "7 nm"'),
        "roofline.process_nm is '7 nm'",
        'expected a number from 0.1 to 10000, or "?" where it is not public (process, nm, as its name has it)',
    ),
    *(
        (changed("int8_tops = 624", f"int8_tops = {value}"), f"roofline.int8_tops is {written}", RANGE)
        for value, written in (("0", "0"), ("-1", "-1"), ("nan", "nan"), ("true", "True"), ('""', "''"), ("[]", "[]"))
    ),
]


@pytest.mark.parametrize(("text", "message", "help"), BAD_FILES)
def test_bad_files(tmp_path, text, message, help):
    path = tmp_path / "chip.toml"
    path.write_text(text)
    with pytest.raises(ChipError) as caught:
        load_description(path)
    assert message in caught.value.message and "chip.toml" in caught.value.message
    assert help is None or caught.value.help == help


@given(st.sampled_from(sorted(ROOFLINE_FIELDS)), st.one_of(values, st.just("?")))
def test_any_value_of_any_key_is_legal_or_an_error(key, value):
    try:
        chip = load_description("a800", **{key: value})
    except ChipError as error:
        assert key in error.message
        return
    kind, low, high, _ = ROOFLINE_FIELDS[key]
    assert chip[key] == (value if kind == "word" or value != "?" else None)
    assert kind == "word" or chip[key] is None or low <= chip[key] <= high


@settings(max_examples=150)
@given(st.data())
def test_mutated_files_load_or_are_chip_errors(tmp_path_factory, data):
    text = bytearray(A800, "utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at] = data.draw(st.integers(0, 255))
        else:
            del text[at : at + data.draw(st.integers(1, 40))]
    path = tmp_path_factory.getbasetemp() / "mutated_roofline.toml"
    path.write_bytes(text)
    try:
        chip = load_description(path)
    except ChipError as error:
        assert error.message.strip()
        return
    assert isinstance(chip, RooflineChip) and not isinstance(chip, Chip)
    watts = tomllib.loads(text.decode())["roofline"]["watts"]
    assert chip["roofline.watts"] == (None if watts == "?" else watts)
