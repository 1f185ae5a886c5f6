"""Chip files: whatever is in one, a Chip or a ChipError whose text says what to do."""

import tomllib
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.chip import (
    CHIPS,
    DATAFLOWS,
    FIELDS,
    KIND_OF,
    SECTIONS,
    Chip,
    chip_names,
    chip_of,
    differences,
    load_chip,
    load_description,
    toml_of,
)
from isa.errors import ChipError

EDGE = (CHIPS / "edge.toml").read_text("utf-8")


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a chip from text or bytes."""

    def load_text(text, **overrides):
        path = tmp_path / "chip.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_chip(path, **overrides)

    return load_text


def changed(old, new):
    assert EDGE.count(old) == 1, old
    return EDGE.replace(old, new)


WITH_CYCLES = [name for name in chip_names() if isinstance(load_description(name), Chip)]


@pytest.mark.parametrize("name", WITH_CYCLES)
def test_shipped_chips_load_and_say_where_numbers_come_from(name):
    chip = load_chip(name)
    assert chip.name == name
    assert set(chip.values) == {key for key in FIELDS if key not in KIND_OF or chip[KIND_OF[key][0]] == KIND_OF[key][1]}
    assert all(chip.sources[key] for key in chip.values if FIELDS[key][0] != "word")


def test_shipped_chips_are_named():
    assert WITH_CYCLES == ["edge", "gemmini-16", "hanguang800", "m890", "tpu-v1", "zhenwu810e"]
    assert sorted({*chip_names()} - {*WITH_CYCLES}) == ["a800", "biren104", "h20", "metax"]


def test_hanguang_has_its_published_numbers():
    chip = load_chip("hanguang800")
    per_core = chip["te.multipliers"] * chip["te.pixels"] * chip["te.channels"]
    assert 2 * per_core * chip["chip.cores"] * chip.cycles_per_second == pytest.approx(825e12, rel=1e-3)
    assert chip["chip.cores"] * chip["memory.lm_bytes"] == 192 * 2**20
    assert chip.memory_bytes("dev") == 0
    assert (chip["te.vector_format"], chip["pe.vector_format"]) == ("fp24", "fp19")


@pytest.mark.parametrize(
    ("name", "changes", "base"),
    [
        ("edge", {}, "edge"),
        ("edge", {"te.latency": 1000, "te.vector_format": "fp19"}, "edge"),
        ("edge", {"chip.name": 'mine "2"', "te.latency": 1000}, "edge"),
        # The name of a chip that is described by bounds alone.
        ("zhenwu810e", {"chip.name": "h20"}, "zhenwu810e"),
        ("hanguang800", {"te.kind": "systolic", "te.rows": 8, "te.columns": 8, "te.dataflow": DATAFLOWS[0]}, None),
    ],
)
def test_a_chip_is_told_by_what_differs(name, changes, base):
    chip = load_chip(name, **changes)
    found, differing = differences(chip)
    assert (found, differing) == (base or name, changes)
    assert load_chip(found, **differing) == chip and hash(load_chip(found, **differing)) == hash(chip)
    assert load_chip(chip) is chip and load_chip(chip, te__latency=3)["te.latency"] == 3
    kept = chip_of(dict(chip.values), "kept")
    assert kept == chip and kept.changed == (changes if chip.name == found else {})
    of_all = {"kept"} if kept.name != found else {load_chip(found).sources.get(key, "kept") for key in kept.values}
    assert {kept.sources[key] for key in kept.values if key not in changes} <= of_all


def test_a_file_that_is_a_shipped_chip_loads_as_it(load):
    assert load(EDGE) == load_chip("edge")


@pytest.mark.parametrize("name", chip_names())
def test_what_is_written_is_read_as_it_was(load, tmp_path, name):
    chip = load_description(name)
    if name == "edge":
        chip = chip.replace(chip__name='a "b" \x7f', te__latency=20, memory__dev_gb_per_second=1e-6, ring__clock="core")
    path = tmp_path / "own.toml"
    path.write_text(toml_of(chip), "utf-8")
    back = load_description(path)
    assert (back.values, back.sources) == (chip.values, chip.sources)
    assert toml_of(chip).startswith("# ") == (name != "edge")


def test_overrides_change_numbers_and_their_source():
    chip = load_chip("edge", te__latency=20, **{"memory.lm_bytes": 2**20})
    assert (chip["te.latency"], chip["memory.lm_bytes"]) == (20, 2**20)
    assert (chip.sources["te.latency"], chip.sources["te.pixels"]) == ("set", "assumed")
    assert load_chip("edge")["te.latency"] == 16
    with_dev = load_chip("hanguang800", memory__dev_bytes=2**30, memory__dev_gb_per_second=64)
    assert with_dev.memory_bytes("dev") == 2**30


def test_what_is_outside_keeps_its_time_whatever_the_clock():
    for mhz in (125, 500, 4000, 333.3):
        chip = load_chip("edge", chip__frequency_mhz=mhz)
        assert chip.bytes_per_cycle("dev") == pytest.approx(8e9 / (mhz * 1e6))
        assert chip.latency("dev") == ceil(round(mhz / 10, 6)) and chip.latency("pcie") == ceil(round(mhz, 6))
        assert chip["me.latency"] == load_chip("edge")["me.latency"]
    ring = {"chip__cores": 2, "ring__clock": "own", "ring__gb_per_second": 3, "ring__latency_ns": 10}
    own = load_chip("edge", chip__frequency_mhz=1000, **ring)
    assert (own.bytes_per_cycle("ring"), own.latency("ring")) == (3, 10) and "ring.latency" not in own.values
    back = own.replace(ring__clock="core", ring__bytes_per_cycle=5, ring__latency=7)
    assert (back.bytes_per_cycle("ring"), back.latency("ring")) == (5, 7) and "ring.latency_ns" not in back.values


BAD_FILES = [
    # What was in cycles of the core: with what to write instead.
    (
        changed("dev_gb_per_second = 8.0", "dev_bytes_per_cycle = 16.0").replace(
            "dev_latency_ns = 100", "dev_latency = 50"
        ),
        "memory.dev_bytes_per_cycle, memory.dev_latency: what lies outside the core's clock is in GB/s and ns",
        "at 500 MHz that is memory.dev_gb_per_second = 8, memory.dev_latency_ns = 100",
    ),
    (
        changed("dev_gb_per_second = 8.0", 'dev_bytes_per_cycle = "16"'),
        "memory.dev_bytes_per_cycle: what lies outside",
        "give memory.dev_gb_per_second, in GB/s and ns",
    ),
    ("", "lacks chip.name, chip.about, chip.frequency_mhz", "chip.name: name"),
    ("chip", "is not TOML", "it must be UTF-8 text, as https://toml.io has it"),
    # Python reads a long dotted key in time that grows with the square of its length.
    ("x = 1\n" + "a." * 2**15 + "a = 1", "it is larger than 64 KiB", ""),
    (b"\xff\xfe\x00", "is not TOML", "it must be UTF-8 text, as https://toml.io has it"),
    ("x = " + "[" * 5000 + "]" * 5000, "is not TOML", "it must be UTF-8 text, as https://toml.io has it"),
    ("x = " + "9" * 5000, "is not TOML", "it must be UTF-8 text, as https://toml.io has it"),
    (changed("[seq]", "[sec]"), "unknown key sec", "did you mean `seq`?"),
    (
        changed("[seq]", "[sequencer]"),
        "unknown key sequencer",
        f"known here: {', '.join(SECTIONS)}",
    ),
    (
        changed("queue_depth = 8", "banana = 8"),
        "unknown key seq.banana",
        "known here: seq.issue_cycles, seq.loop_cycles, seq.launch_cycles, seq.queue_depth, seq.fetch_bytes_per_cycle",
    ),
    ("te = 3\n" + EDGE.split("[te]")[0], "te is 3", "expected a section, [te]"),
    ("te = [1]\n" + EDGE.split("[te]")[0], "te is [1]", "expected a section, [te]"),
    (changed("queue_depth = 8", "queue_dept = 8"), "unknown key seq.queue_dept", "did you mean `seq.queue_depth`?"),
    (
        changed('source.queue_depth = "assumed"', 'source.queue_dept = "assumed"'),
        "unknown key seq.queue_dept",
        "did you mean `seq.queue_depth`?",
    ),
    (
        changed('source.queue_depth = "assumed"\n', ""),
        "no source is given for seq.queue_depth",
        'cite one, or write "assumed"',
    ),
    (
        changed('source.queue_depth = "assumed"', "source.queue_depth = 3"),
        "the source of seq.queue_depth is 3",
        'cite one, or write "assumed"',
    ),
    (
        changed('source.queue_depth = "assumed"', 'source.queue_depth = ""'),
        "the source of seq.queue_depth is ''",
        'cite one, or write "assumed"',
    ),
    (
        "[chip]\nsource = 3",
        "chip.source is not a table",
        'write source.KEY = "where it comes from"',
    ),
    (
        changed("queue_depth = 8\n", ""),
        "lacks seq.queue_depth",
        "seq.queue_depth: instructions that wait in an engine's queue",
    ),
    (
        changed("dev_gb_per_second = 8.0", "dev_gb_per_second = 0"),
        "the chip has device memory, but memory.dev_gb_per_second is 0",
        "give its bandwidth too",
    ),
]
DEPTH_RANGE = "expected a whole number from 1 to 4096 (instructions that wait in an engine's queue)"
PORT_RANGE = "expected a number from 1e-06 to 1000000000 (bandwidth to the host, each direction, GB/s)"
for value, written in (
    ("0", "0"),
    ("4097", "4097"),
    ("8.5", "8.5"),
    ("true", "True"),
    ('"8"', "'8'"),
    ("inf", "inf"),
    ("nan", "nan"),
    ("-1", "-1"),
    ("[8]", "[8]"),
    ("1979-05-27", "datetime.date(1979, 5, 27)"),
    ("1" + "0" * 60, "a huge number"),
):
    BAD_FILES.append(
        (changed("queue_depth = 8", f"queue_depth = {value}"), f"seq.queue_depth is {written}", DEPTH_RANGE)
    )
for value in ("0", "-2.0", "inf", "-inf", "nan", "1e10"):
    text = changed("pcie_gb_per_second = 1.0", f"pcie_gb_per_second = {value}")
    written = "10000000000" if value == "1e10" else value.removesuffix(".0")
    BAD_FILES.append((text, f"memory.pcie_gb_per_second is {written}", PORT_RANGE))
for value, written in (('"fp16"', "'fp16'"), ("32", "32"), ("[]", "[]")):
    text = EDGE.replace('vector_format = "fp32"\nsource.multipliers', f"vector_format = {value}\nsource.multipliers")
    help = "expected one of fp32, fp24, fp19 (arithmetic of EW1 to EW3)"
    BAD_FILES.append((text, f"te.vector_format is {written}", help))


@pytest.mark.parametrize(("text", "message", "help"), BAD_FILES)
def test_bad_files(load, text, message, help):
    with pytest.raises(ChipError) as caught:
        load(text)
    assert message in caught.value.message
    assert "chip.toml" in caught.value.message
    assert caught.value.help == help


SYSTOLIC = {"te__kind": "systolic", "te__rows": 4, "te__columns": 4, "te__dataflow": "input-stationary"}


def test_another_kind_of_tensor_engine_takes_the_place_of_the_first():
    chip = load_chip("edge", **SYSTOLIC)
    assert "te.pixels" not in chip.values and chip["te.rows"] == 4
    back = chip.replace(te__kind="dot-product", te__multipliers=16, te__pixels=4, te__channels=8)
    assert back.values == load_chip("edge").values


BAD_OVERRIDES = [
    ({"te__rows": 4}, "edge: te.kind is 'dot-product', and te.rows is given", "only 'systolic' has it"),
    ({**SYSTOLIC, "te__pixels": 4}, "edge: te.kind is 'systolic', and te.pixels is given", ""),
    ({"te__kind": "systolic"}, "edge: te.kind is 'systolic', but te.rows is not given", "te.rows: R: rows"),
    ({"te__latncy": 3}, "edge: unknown key te.latncy", "did you mean `te.latency`?"),
    (
        {"nonsense": 3},
        "edge: unknown key nonsense",
        f"known here: {', '.join(SECTIONS)}",
    ),
    (
        {"chip__frequency_mhz": 800, "memory__pcie_latency": 400, "memory__pcie_bytes_per_cycle": 2},
        "edge: memory.pcie_bytes_per_cycle, memory.pcie_latency: what lies outside the core's clock is in GB/s and ns",
        "at 800 MHz that is memory.pcie_gb_per_second = 1.6, memory.pcie_latency_ns = 500",
    ),
    ({"ring__clock": "own"}, "edge: ring.clock is 'own', but ring.gb_per_second is not given", "ring.gb_per_second: "),
    ({"ring__latency_ns": 3}, "edge: ring.clock is 'core', and ring.latency_ns is given", "only 'own' has it"),
    ({"te__latency": -1}, "edge: te.latency is -1", "expected a whole number from 0 to 1000000 (fill and drain "),
    ({"te__latency": True}, "edge: te.latency is True", "expected a whole number"),
    ({"te__latency": None}, "edge: te.latency is None", "expected a whole number"),
    ({"te__latency": "20"}, "edge: te.latency is '20'", "expected a whole number"),
    ({"te__latency": 10**5000}, "edge: te.latency is a huge number", "expected a whole number"),
    ({"te__latency": float("nan")}, "edge: te.latency is nan", "expected a whole number"),
    (
        {"memory__dev_gb_per_second": 1e-320},
        "edge: memory.dev_gb_per_second is 1e-320",
        "expected 0, or a number from 1e-06 to 1000000000 (",
    ),
    ({"chip__name": 7}, "edge: chip.name is 7", "expected a line of text (name)"),
    ({"memory__dev_gb_per_second": 0}, "edge: the chip has device memory, but memory.dev_gb_per_second is 0", ""),
]


@pytest.mark.parametrize(("overrides", "message", "help"), BAD_OVERRIDES)
def test_bad_overrides(overrides, message, help):
    with pytest.raises(ChipError) as caught:
        load_chip("edge", **overrides)
    assert caught.value.message == message
    assert caught.value.help.startswith(help)


KNOWN = f"known chips: {', '.join(chip_names())}; or give a .toml file"


@pytest.mark.parametrize(
    ("name", "message", "help"),
    [
        ("hanguang", "there is no chip 'hanguang'", "did you mean `hanguang800`?"),
        (
            "quux",
            "there is no chip 'quux'",
            KNOWN,
        ),
        (
            5,
            "there is no chip '5'",
            KNOWN,
        ),
        (
            "",
            "there is no chip ''",
            KNOWN,
        ),
        ("missing.toml", "cannot read missing.toml: No such file or directory", ""),
        ("nul\0.toml", "cannot read nul\0.toml: embedded null byte", None),
    ],
)
def test_bad_names(name, message, help):
    with pytest.raises(ChipError) as caught:
        load_chip(name)
    assert caught.value.message == message
    assert help is None or caught.value.help == help


def test_a_directory_is_no_chip_file(tmp_path):
    path = tmp_path / "folder.toml"
    path.mkdir()
    with pytest.raises(ChipError, match=r"cannot read .*folder\.toml: Is a directory"):
        load_chip(path)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.sampled_from(sorted(FIELDS)), values)
def test_any_value_of_any_key_is_legal_or_an_error(key, value):
    try:
        chip = load_chip("edge", **{key: value})
    except ChipError as error:
        assert key in error.message
        return
    kind, low, high, _ = FIELDS[key]
    assert chip[key] == value
    assert kind == "word" or low <= chip[key] <= high


@settings(max_examples=150)
@given(st.data())
def test_mutated_files_load_or_are_chip_errors(tmp_path_factory, data):
    text = bytearray(EDGE, "utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at] = data.draw(st.integers(0, 255))
        else:
            del text[at : at + data.draw(st.integers(1, 40))]
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_bytes(text)
    try:
        chip = load_chip(path)
    except ChipError as error:
        assert error.message.strip()
        return
    assert isinstance(chip, Chip)
    assert tomllib.loads(text.decode())["chip"]["cores"] == chip["chip.cores"]
