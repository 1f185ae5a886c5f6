"""FLEET.toml: kinds of cards and how many, the work and its bounds, MLPerf's scenarios; read and checked.

    [fleet]              name, about, seed
    [cards.NAME]         CARDS; [cards.NAME.set] has numbers of the chip by their keys, as --set does
    [work.NAME]          WORK
    [scenarios.NAME]     SCENARIOS, by the names in KNOWN

What is said of hardware, and what was published, has its `source`, as in files of chips; counts and demands are the
planner's own.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isa.bounds_chip import RooflineChip
from isa.chip import Chip, load_description
from isa.chip_file import COUNT, NOT_PUBLIC, RATE, WORD, Vocabulary, check_complete, read
from isa.errors import ChipError, InputError, shown
from isa.files import MAX_CHIP_BYTES, read_whole
from isa.suggest import did_you_mean

SHIPPED = Path(__file__).parent
OFFLINE, SINGLE, MULTI, SERVER = KNOWN = ("offline", "singlestream", "multistream", "server")
ONCE, TWICE = "once", "twice"
MOST_PER_QUEUE = 4096

# section.key: (type, least, greatest or words, meaning)
FLEET: Vocabulary = {
    "fleet.name": (WORD, 0, None, "name"),
    "fleet.about": (WORD, 0, None, "one line about the fleet"),
    "fleet.seed": (COUNT, 0, 2**32, "what arrivals are drawn from"),
}
CARDS: Vocabulary = {
    "cards.chip": (WORD, 0, None, f'a chip by its name, a .toml file, or "{NOT_PUBLIC}"'),
    "cards.count": (COUNT, 1, 10**9, "how many cards there are"),
    "cards.per_queue": (COUNT, 1, MOST_PER_QUEUE, "cards that share a queue"),
    "cards.host_us": (RATE, 0, 1e9, "what the host takes for each batch while the card waits, us"),
    "cards.watts": (RATE, 1e-3, 1e6, f'power of a card, W, or "{NOT_PUBLIC}"; of chips of bounds their file\'s'),
}
OF_HARDWARE: Vocabulary = {key: CARDS[key] for key in ("cards.host_us", "cards.watts")}
WORK: Vocabulary = {
    "work.network": (WORD, 0, None, "a network: an .onnx file, or one of programs/networks"),
    "work.program": (WORD, 0, None, "a program: an .npu or .npo file"),
    "work.decode": (WORD, 0, None, "a model of programs/qwen, of which a token is computed"),
    "work.context": (COUNT, 1, 2**20, "of decode: tokens with the one that is computed"),
    "work.steps": (COUNT, 1, 10**6, "how often a query computes it, one after another"),
    "work.rounds": (WORD, 0, (ONCE, TWICE), "of a network: how often sums of products are rounded"),
    "work.share": (RATE, 1e-6, 1e6, "its part of the queries, beside those of the others"),
    "work.latency_ms": (RATE, 1e-6, 1e9, "how long a query may take, ms"),
    "work.window_us": (RATE, 0, 1e9, "how long a batch waits for more, us"),
    "work.largest_batch": (COUNT, 1, 4096, "samples in a batch at most"),
}
OF_WORK = ("network", "program", "decode")
SCENARIOS: Vocabulary = {
    "scenarios.queries_per_second": (RATE, 1e-6, 1e12, "of server: arrivals at the whole fleet"),
    "scenarios.interval_ms": (RATE, 1e-3, 1e9, "of multistream: from one query to the next, ms"),
    "scenarios.percentile": (RATE, 1, 99.99, "which percentile of the latencies is reported, or bounded"),
    "scenarios.published": (RATE, 1e-6, 1e15, "what was measured: samples, or queries, a second; us of singlestream"),
}
DEFAULTS: Mapping[str, Any] = {
    "per_queue": 1,
    "host_us": 0.0,
    "context": 576,
    "steps": 1,
    "rounds": TWICE,
    "share": 1.0,
    "window_us": 0.0,
    "largest_batch": 1,
}


@dataclass(frozen=True)
class Cards:
    """Cards of one kind: `chip` is None where nothing is public, `watts` of a card too; `host` is in seconds."""

    name: str
    chip: Chip | RooflineChip | None
    count: int
    per_queue: int
    host: float
    watts: float | None
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """One kind of query: `what` is the network, program or model that `kind` says; times are in seconds.

    `folder` is where files lie that it names. `bound` is None where a query may take as long as it likes.
    """

    name: str
    kind: str
    what: str
    folder: Path
    context: int
    steps: int
    round_once: bool
    share: float
    bound: float | None
    window: float
    largest: int


@dataclass(frozen=True)
class Scenario:
    """One of KNOWN; `rate`, `interval` and `published`, in seconds where they are times, are None where not given."""

    name: str
    percentile: float
    rate: float | None
    interval: float | None
    published: float | None
    source: str


@dataclass(frozen=True)
class Fleet:
    """A fleet as its file has it: shares of the work add up to 1."""

    name: str
    about: str
    seed: int
    cards: tuple[Cards, ...]
    work: tuple[Work, ...]
    scenarios: tuple[Scenario, ...]


def shipped() -> list[str]:
    """Return the names of the fleets that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_fleet(which: str | Path) -> Fleet:
    """Return a fleet by its name, or from a TOML file.

    Raises InputError for an unknown name, a file that cannot be read, and whatever in it is missing, unknown or not
    legal; ChipError for its chips.
    """
    text = str(which)
    path = SHIPPED / f"{text}.toml" if text in shipped() else Path(text)
    if text not in shipped() and path.suffix != ".toml":
        known = f"known fleets: {', '.join(shipped())}; or give a .toml file"
        raise InputError(f"there is no fleet {text!r}", did_you_mean(text, shipped(), known))
    try:
        data = tomllib.loads(read_whole(path, InputError, MAX_CHIP_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}", "it must be UTF-8 text, as https://toml.io has it") from error
    return _fleet(data, path)


def _fleet(data: Mapping[str, Any], path: Path) -> Fleet:
    origin, known = path.name, ("fleet", "cards", "work", "scenarios")
    for section in data:
        if section not in known:
            help = did_you_mean(section, known, f"sections: {', '.join(known)}")
            raise InputError(f"{origin}: unknown section {shown(section)}", help)
    said, _ = _read({"fleet": data.get("fleet", {})}, FLEET, origin)
    scenarios = _tables(data, "scenarios", origin) if "scenarios" in data else {SERVER: {}}
    for name in scenarios:
        if name not in KNOWN:
            help = did_you_mean(name, KNOWN, f"scenarios: {', '.join(KNOWN)}")
            raise InputError(f"{origin}: unknown scenario {shown(name)}", help)
    work = [_work(name, body, path) for name, body in _tables(data, "work", origin).items()]
    whole = sum(one.share for one in work)
    return Fleet(
        name=said.get("fleet.name", path.stem),
        about=said.get("fleet.about", ""),
        seed=said.get("fleet.seed", 0),
        cards=tuple(_cards(name, body, path) for name, body in _tables(data, "cards", origin).items()),
        work=tuple(Work(**{**vars(one), "share": one.share / whole}) for one in work),
        scenarios=tuple(_scenario(name, scenarios[name], origin) for name in KNOWN if name in scenarios),
    )


def _tables(data: Mapping[str, Any], section: str, origin: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables of a section by their names; raise InputError where there is none."""
    found = data.get(section)
    if not isinstance(found, dict) or not found or not all(isinstance(body, dict) for body in found.values()):
        example = "server" if section == "scenarios" else "NAME"
        raise InputError(f"{origin} has no tables of {section}", f"expected sections [{section}.{example}]")
    return found


def _read(data: Mapping[str, Any], fields: Vocabulary, origin: str) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        return read(data, fields, origin)
    except ChipError as error:
        raise InputError(error.message, error.help) from error


def _numbers(
    section: str, name: str, body: Mapping[str, Any], fields: Vocabulary, sourced: Vocabulary, origin: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a table says by keys without the section, and the sources; raise InputError for what is not legal."""
    where = f"{origin}, {name}"
    values, sources = _read({section: body}, fields, where)
    try:
        check_complete(values, sources, sourced, (), where)
    except ChipError as error:
        raise InputError(error.message, error.help) from error

    def bare(given: Mapping[str, Any]) -> dict[str, Any]:
        return {key.partition(".")[2]: value for key, value in given.items()}

    return {**{key: value for key, value in DEFAULTS.items() if f"{section}.{key}" in fields}, **bare(values)}, bare(
        sources
    )


def _cards(name: str, body: Mapping[str, Any], path: Path) -> Cards:
    numbers = body.get("set", {})
    if not isinstance(numbers, dict):
        raise InputError(
            f"{path.name}, {name}: set is {shown(numbers)}", 'expected numbers of the chip, "te.latency" = 20'
        )
    hidden = body.get("watts") == NOT_PUBLIC
    told = {key: value for key, value in body.items() if key != "set" and not (key == "watts" and hidden)}
    said, sources = _numbers("cards", name, told, CARDS, OF_HARDWARE, path.name)
    for key in ("chip", "count"):
        if key not in said:
            raise InputError(f"{path.name}, {name} lacks cards.{key}", f"cards.{key}: {CARDS[f'cards.{key}'][3]}")
    if said["per_queue"] > said["count"]:
        message = f"{path.name}, {name}: {said['per_queue']:,} of {said['count']:,} cards share a queue"
        raise InputError(message, "let cards.per_queue be no more than cards.count")
    beside = path.parent / said["chip"]
    chip = None
    if said["chip"] != NOT_PUBLIC:
        which = beside if beside.suffix == ".toml" else said["chip"]
        chip = load_description(which, **numbers)
    elif numbers:
        raise InputError(f"{path.name}, {name}: numbers are set of a chip that is not public", "name the chip")
    watts = said.get("watts")
    if watts is None and not hidden and isinstance(chip, RooflineChip):
        watts, sources["watts"] = chip["roofline.watts"], chip.sources.get("roofline.watts", "")
    return Cards(name, chip, said["count"], said["per_queue"], said["host_us"] / 1e6, watts, sources)


def _work(name: str, body: Mapping[str, Any], path: Path) -> Work:
    said, _ = _numbers("work", name, body, WORK, {}, path.name)
    kinds = [kind for kind in OF_WORK if kind in said]
    if len(kinds) != 1:
        message = f"{path.name}, {name}: " + (f"it is {' and '.join(kinds)}" if kinds else "what it is, is not said")
        raise InputError(message, f"give one of {', '.join(f'work.{kind}' for kind in OF_WORK)}")
    (kind,) = kinds
    if said["largest_batch"] > 1 and kind != "network":
        message = f"{path.name}, {name}: a {kind} is of one sample, and work.largest_batch is {said['largest_batch']}"
        raise InputError(message, "only networks are compiled for batches")
    bound = said.get("latency_ms")
    return Work(
        name=name,
        kind=kind,
        what=said[kind],
        folder=path.parent,
        context=said["context"],
        steps=said["steps"],
        round_once=said["rounds"] == ONCE,
        share=said["share"],
        bound=None if bound is None else bound / 1e3,
        window=said["window_us"] / 1e6,
        largest=said["largest_batch"],
    )


def _scenario(name: str, body: Mapping[str, Any], origin: str) -> Scenario:
    sourced = {"scenarios.published": SCENARIOS["scenarios.published"]}
    said, sources = _numbers("scenarios", name, body, SCENARIOS, sourced, origin)
    for key, owner in (("queries_per_second", SERVER), ("interval_ms", MULTI)):
        if key in said and name != owner:
            raise InputError(f"{origin}, {name}: scenarios.{key} is given", f"only {owner} has it")
    interval, published = said.get("interval_ms"), said.get("published")
    if name == SINGLE and published is not None:
        published /= 1e6
    if name == MULTI and interval is None:
        meaning = SCENARIOS["scenarios.interval_ms"][3]
        raise InputError(f"{origin}, {name} lacks scenarios.interval_ms", f"scenarios.interval_ms: {meaning}")
    return Scenario(
        name=name,
        percentile=said.get("percentile", 90.0 if name == SINGLE else 99.0),
        rate=said.get("queries_per_second"),
        interval=None if interval is None else interval / 1e3,
        published=published,
        source=sources.get("published", ""),
    )
