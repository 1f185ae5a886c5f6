"""`ratel fleet`: capacity is what cycles and bounds say, what is not public stays so, and errors say where they are."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("simpy")

import ratel
from explore.fleet import file as files
from explore.fleet.file import load_fleet
from explore.fleet.scenarios import offline, server
from programs.qwen.decoder import decoder
from programs.qwen.shapes import SHAPES
from ratel.cli.main import main

DIGITS = Path(__file__).parents[3] / "programs/digits/digits.npu"
SMALL = f"""
[cards.few]
chip = "hanguang800"
count = 2
watts = 280
source.watts = "S1"

[cards.none]
chip = "?"
count = 3

[work.digits]
program = "{DIGITS}"
latency_ms = 1

[scenarios.offline]
[scenarios.singlestream]
published = 20
source.published = "made up"
[scenarios.multistream]
interval_ms = 1
[scenarios.server]
queries_per_second = 1000
"""
QUERIES = 1000


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_one_card_without_a_queue_is_as_ratel_time_has_it(small: Path) -> None:
    planned = ratel.fleet(small, queries=QUERIES)
    program = ratel.assemble(DIGITS.read_text(), DIGITS, "hanguang800")
    seconds, stream = ratel.time(program, tasks=1).seconds, ratel.time(program, tasks=8)
    kind, unknown = planned.kinds
    reported = {one.scenario.name: one.value for one in kind.reported}
    assert reported["singlestream"] == seconds
    # Nearly none comes while another is there.
    assert kind.station is not None and server(kind.station, 1e-6).all.percentile(99) == seconds
    assert isinstance(stream, ratel.Stream)
    rate = stream.plan.chip.cycles_per_second / stream.interval
    assert kind.capacity == pytest.approx(2 * rate) and kind.watts == 560
    assert offline(kind.station) == kind.saturates == reported["offline"] == pytest.approx(2 * rate, rel=0.01)
    # Batches behind one another in a millisecond: the last begins as many intervals before its end as it may.
    whole = int((1e-3 - seconds) / (1 / rate)) + 1
    assert reported["multistream"] == 2 * whole
    assert kind.known == "cycles" and kind.most == 0.98
    assert kind.needed(rate * 0.98 * 1.5) == 2 and planned.utilisation == pytest.approx(1000 / (2 * rate))
    assert unknown.station is None and unknown.capacity is unknown.watts is unknown.needed(1.0) is None


def test_a_seed_gives_the_same_and_another_one_another(small: Path) -> None:
    def loads(seed: int) -> object:
        return ratel.fleet(small, seed=seed, queries=QUERIES).summary()["kinds"][0]["loads"]

    assert loads(1) == loads(1) != loads(2)


def test_the_deal_has_what_is_public_and_no_more(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "load.svg"
    assert main(["fleet", "qinghai", "--queries", "500", "--json", "--picture", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    kinds = {kind["name"]: kind for kind in found["kinds"]}
    assert [kind["count"] for kind in kinds.values()] == [16_384, 4_096, 1_328, 1_024]
    assert [kind["from"] for kind in kinds.values()] == ["cycles", "nothing", "bounds", "nothing"]
    program = decoder(SHAPES["qwen2.5-7b"], context=576)
    (batch,) = kinds["zhenwu810e"]["work"]["token"]["batches"]
    assert batch["latency"] == ratel.time(program, tasks=1).seconds
    assert kinds["biren"]["capacity"] == pytest.approx(1_328 / ratel.bounds(program, "biren104").seconds)
    for name in ("metax", "zhonghao-xinying"):
        assert all(kinds[name][key] is None for key in ("capacity", "utilisation", "watts", "needed"))
        assert "public" in kinds[name]["why"]
    # Later is never sooner, and both kinds of which something is known are drawn.
    for name in ("zhenwu810e", "biren"):
        assert all(0 < one["p50"] <= one["p90"] <= one["p99"] for one in kinds[name]["loads"])
    drawn = ElementTree.parse(picture)
    lines = [line.get("class") for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert lines == ["line mid", "line", "line mid least", "line least"]


def test_the_table_marks_what_is_bounds_and_what_is_not_public(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    small.write_text(SMALL + '[cards.least]\nchip = "a800"\ncount = 1\n')
    assert main(["fleet", str(small), "--queries", "300"]) == 0
    shown = capsys.readouterr().out
    rows = {row.split()[0]: row for row in shown.splitlines() if row.split()[1:2] in (["2"], ["3"], ["1"])}
    assert "cycles" in rows["few"] and "=" not in rows["few"]
    assert "<= " in rows["least"] and ">= " in rows["least"] and "bounds" in rows["least"]
    assert rows["none"].count("?") == 6
    assert re.search(r"singlestream +few +p90 [\d.]+ us +p90 20 us +[+-][\d.]+%", shown)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"hanguang800"', '"hanguan800"', "there is no chip 'hanguan800'\nhelp: did you mean"),
        ("count = 2", "count = 0", "small.toml, few: cards.count is 0\nhelp: expected a whole number from 1"),
        ("count = 2", "count = 2\nper_queue = 3", "3 of 2 cards share a queue"),
        ("count = 2", "cuont = 2", "unknown key cards.cuont\nhelp: did you mean"),
        ('source.watts = "S1"', "", "no source is given for cards.watts"),
        ("count = 3", "count = 3\nset = { x = 1 }", "numbers are set of a chip that is not public"),
        ("latency_ms = 1", "largest_batch = 4", "a program is of one sample"),
        ("program =", 'decode = "x"\nprogram =', "small.toml, digits: it is program and decode"),
        (f'program = "{DIGITS}"', "share = 1", "digits: what it is, is not said"),
        (f'program = "{DIGITS}"', 'decode = "qwen"', "there is no model 'qwen'"),
        (f'program = "{DIGITS}"', 'network = "resnet5"', "there is no network 'resnet5'\nhelp: did you mean"),
        (f'program = "{DIGITS}"', 'program = "none.npu"', "cannot read"),
        ("interval_ms = 1", "", "multistream lacks scenarios.interval_ms"),
        ("interval_ms = 1", "interval_ms = 1e9", "batches in an interval of multistream are not simulated"),
        ("queries_per_second = 1000", "interval_ms = 1", "only multistream has it"),
        ("[scenarios.offline]", "[scenarios.ofline]", "unknown scenario 'ofline'"),
        ("[work.digits]", "[jobs.digits]", "unknown section 'jobs'"),
        ("[cards.few]", "[cards", "is not TOML"),
    ],
)
def test_errors_say_where_they_are(old: str, new: str, said: str, small: Path) -> None:
    assert SMALL.count(old) == 1
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(ratel.RatelError) as error:
        ratel.fleet(small, queries=QUERIES)
    assert said in str(error.value)


def test_what_cannot_run_is_a_row_with_the_reason(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    small.write_text(SMALL.replace("count = 2", 'count = 2\nset = { "memory.lm_bytes" = 1024 }'))
    assert main(["fleet", str(small), "--queries", "300"]) == 1
    assert re.search(r"^few: digits: .*1,024", capsys.readouterr().out, re.MULTILINE)


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "simpy", None)
    assert main(["fleet", "qinghai"]) == 1
    shown = capsys.readouterr().err
    assert "queues are simulated with simpy, which is not installed" in shown
    assert "pip install 'ratel-npu[explore]'" in shown


def test_shares_add_up_to_one(small: Path) -> None:
    small.write_text(SMALL.replace("latency_ms = 1", f'share = 3\n[work.more]\nprogram = "{DIGITS}"'))
    fleet = load_fleet(small)
    assert [one.share for one in fleet.work] == [0.75, 0.25]
    assert files.shipped() == ["hanguang_mlperf", "qinghai"]
    # Twice the same is the same work.
    few = ratel.fleet(small, queries=QUERIES).kinds[0]
    small.write_text(SMALL)
    assert few.capacity == pytest.approx(ratel.fleet(small, queries=QUERIES).kinds[0].capacity)
