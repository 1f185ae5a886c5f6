"""Files: what is read of those that a program names, and that one is written whole, kept as it was, or not at all."""

import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from isa.errors import ObjectError, RatelError
from isa.files import (
    Refused,
    inputs_are_kept,
    name_of,
    open_given,
    open_inside,
    read_at_most,
    read_on,
    read_same,
    read_whole,
    rewrite_whole,
    write_new,
    write_whole,
)

LONG = 3 << 20


def nothing_is_left(folder: Path, *names: str) -> None:
    assert sorted(os.listdir(folder)) == sorted(names)


def read_inside(folder: Path, inside: str) -> bytes:
    with open_inside(folder, inside)[0] as file:
        return file.read()


def link_out(folder: Path) -> str:
    (folder / "link").symlink_to("/proc/self/environ" if Path("/proc/self/environ").exists() else "/etc/passwd")
    return "link"


def link_up(folder: Path) -> str:
    (folder.parent / "secret").write_text("a key")
    (folder / "link").symlink_to("../secret")
    return "link"


def below_a_link(folder: Path) -> str:
    (folder.parent / "secret").write_text("a key")
    (folder / "parts").symlink_to(folder.parent)
    return "parts/secret"


def chain(folder: Path) -> str:
    link_up(folder)
    (folder / "first").symlink_to("link")
    return "first"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def link_to_a_pipe(folder: Path) -> str:
    (folder / "link").symlink_to(pipe(folder))
    return "link"


def device(folder: Path) -> str:
    (folder / "zero").symlink_to("/dev/zero")
    return "zero"


def a_folder(folder: Path) -> str:
    (folder / "parts").mkdir()
    return "parts"


@pytest.mark.parametrize(
    "made", [link_out, link_up, below_a_link, chain, pipe, link_to_a_pipe, device, a_folder], ids=lambda f: f.__name__
)
def test_what_a_program_names_is_a_plain_file_beside_it(made: Callable[[Path], str], tmp_path: Path) -> None:
    folder = tmp_path / "program"
    folder.mkdir()
    inside = made(folder)
    with pytest.raises(Refused):
        read_inside(folder, inside)
    assert read_same(folder, inside, "") is None


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    """The folder itself may be reached by a link, too."""
    folder = tmp_path / "program"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "a").write_bytes(b"here")
    (folder / "link").symlink_to("parts/a")
    (tmp_path / "elsewhere").symlink_to("program")
    assert read_inside(folder, "link") == read_inside(tmp_path / "elsewhere", "link") == b"here"


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * LONG)
    assert len(read_whole(path, most=LONG)) == LONG
    with pytest.raises(ObjectError, match=r"cannot read .*: it is larger than 2 MiB"):
        read_whole(path, ObjectError, LONG - 1)
    # What has no size of its own is read as far as it may be.
    with pytest.raises(RatelError, match="cannot read /dev/zero: it is larger than 16 MiB"):
        read_whole("/dev/zero")


@pytest.mark.parametrize(("length", "size"), [(8, 9), (10, 10), (20, 10)])
def test_what_follows_is_read_once_as_far_as_it_is_asked_for(length: int, size: int, tmp_path: Path) -> None:
    """And one byte more, which says that there is more."""
    (tmp_path / "a").write_bytes(b"0123456789")
    with open_given(tmp_path / "a") as file:
        assert read_on(file, file.read(3), length) == b"0123456789"[:size]
    with open_given(tmp_path / "a") as file:
        assert read_on(file, file.read(), 4) == b"0123456789"


@pytest.mark.parametrize("size", [0, 5, LONG])
def test_a_pipe_is_read_to_its_end(size: int) -> None:
    given, taken = os.pipe()
    writer = threading.Thread(target=lambda: os.fdopen(taken, "wb").write(b"x" * size))
    writer.start()
    with os.fdopen(given, "rb") as file:
        assert read_at_most(file, LONG) == b"x" * size
    writer.join()


def test_a_file_keeps_its_mode_and_its_owner(tmp_path: Path) -> None:
    path, new = tmp_path / "a", tmp_path / "new"
    path.write_bytes(b"before")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    write_whole(path, b"after")
    after = path.stat()
    assert path.read_bytes() == b"after"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    mask = os.umask(0o027)
    try:
        write_whole(new, b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    nothing_is_left(tmp_path, "a", "new")


def test_an_owner_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a colleague's file may be written by a group."""
    path = tmp_path / "a"
    path.write_bytes(b"before")
    theirs = list(path.stat())
    theirs[stat.ST_UID] += 1
    monkeypatch.setattr("isa.files._found", lambda _: os.stat_result(theirs))

    def denied(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", denied)
    with pytest.raises(RatelError, match="belongs to another user or group"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    nothing_is_left(tmp_path, "a")


@pytest.mark.parametrize("there", [True, False])
def test_links_are_not_followed_to_write(there: bool, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    if there:
        real.write_bytes(b"before")
    link.symlink_to("real")
    for write in (lambda: write_whole(link, b"after"), lambda: write_new({tmp_path / "new": b"", link: b"after"})):
        with pytest.raises(RatelError, match=f"it is a link\nhelp: name the file that is to be written: {real}"):
            write()
    assert real.read_bytes() == b"before" if there else not real.exists()
    nothing_is_left(tmp_path, "link", *(["real"] if there else []))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a folder of Linux")
def test_of_the_systems_folders_only_its_own_links_are_followed(tmp_path: Path) -> None:
    """What everybody may write lies there, too, and ways to any folder."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        link = Path(made, "p.npo")
        link.symlink_to(victim)
        before = os.open(made, os.O_RDONLY)
        try:
            ways = (made, f"/proc/self/fd/{before}", f"/proc/self/root{made}", f"/dev/fd/../root{made}")
            for path in (Path(way, "p.npo") for way in ways):
                assert path.samefile(victim)
                with pytest.raises(RatelError, match="it is a link\nhelp: name the file"):
                    write_whole(path, b"after")
        finally:
            os.close(before)
        nothing_is_left(Path(made), "p.npo")
    assert victim.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"])
def test_what_is_open_is_written_to_by_the_systems_links(name: str, tmp_path: Path) -> None:
    if not Path(name).is_dir():
        pytest.skip("the system has none")
    with (tmp_path / "a").open("wb") as file:
        write_whole(f"{name}/{file.fileno()}", b"after")
    assert (tmp_path / "a").read_bytes() == b"after"


def test_a_file_is_rewritten_by_the_link_that_it_was_read_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").mkdir()
    real, first, second = tmp_path / "parts/real", tmp_path / "first", tmp_path / "second"
    real.write_bytes(b"before")
    first.symlink_to("parts/real")
    second.symlink_to("first")
    rewrite_whole(second, b"before", b"after")
    assert real.read_bytes() == b"after" and first.is_symlink() and second.is_symlink()
    nothing_is_left(tmp_path, "parts", "first", "second")
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    with pytest.raises(RatelError, match=r"cannot rewrite .*circle"):
        rewrite_whole(circle, b"before", b"after")
    if os.geteuid() == 0:
        os.lchown(second, 1234, 1234)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(RatelError, match="it is a link that another user made"):
        rewrite_whole(second, b"after", b"again")
    assert real.read_bytes() == b"after"


@pytest.mark.parametrize("action", ["write", "rewrite"])
def test_read_only_files_and_those_of_several_names_are_refused(action: str, tmp_path: Path) -> None:
    """For root, too, whom the system would let write."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"before")

    def written() -> None:
        if action == "write":
            write_whole(path, b"after")
        else:
            rewrite_whole(path, b"before", b"after")

    path.chmod(0o444)
    with pytest.raises(RatelError, match="it is read-only"):
        written()
    path.chmod(0o644)
    os.link(path, other)
    with pytest.raises(RatelError, match="it has 2 names"):
        written()
    assert path.read_bytes() == b"before" and path.samefile(other)
    nothing_is_left(tmp_path, "a", "b")
    other.unlink()
    written()
    assert path.read_bytes() == b"after"


@pytest.mark.parametrize("end", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_nothing_is_left_of_what_ended(end: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def ended(_: int) -> None:
        raise end

    monkeypatch.setattr(os, "fsync", ended)
    with pytest.raises(RatelError if isinstance(end, OSError) else type(end)):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    nothing_is_left(tmp_path, "a")


def test_nobody_can_guess_where_it_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies where that would be is neither written to nor waited for."""
    victim, path = tmp_path / "victim", tmp_path / "a"
    victim.write_bytes(b"theirs")
    (tmp_path / "a.part").symlink_to("victim")
    write_whole(path, b"mine")
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / f".ratel-{bytes(12).hex()}.part").symlink_to("victim")
    with pytest.raises(RatelError, match="File exists"):
        write_whole(path, b"mine again")
    assert (victim.read_bytes(), path.read_bytes()) == (b"theirs", b"mine")


def test_long_names(tmp_path: Path) -> None:
    name = "n" * 252
    write_whole(tmp_path / name, b"whole")
    nothing_is_left(tmp_path, name)


def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    """Each reading finds all of one writing."""
    path = tmp_path / "a"
    contents = [bytes([k]) * 100_000 for k in (1, 2)]
    write_whole(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(40):
            write_whole(path, content)

    writers = [threading.Thread(target=write, args=[content]) for content in contents]
    for writer in writers:
        writer.start()
    seen = {read_whole(path)}
    while any(writer.is_alive() for writer in writers):
        seen.add(read_whole(path))
    assert seen <= set(contents) and path.read_bytes() in contents
    nothing_is_left(tmp_path, "a")


def test_pipes_and_devices_are_written_into(tmp_path: Path) -> None:
    write_whole("/dev/null", b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RatelError, match="nobody reads that pipe"):
        write_whole(pipe, b"x")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    while True:
        try:
            write_whole(pipe, b"x" * LONG)
            break
        except RatelError:
            continue  # Not open yet.
    reader.join()
    assert got == [b"x" * LONG] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_was_read_is_not_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"before")
    link.symlink_to("a")
    with inputs_are_kept():
        before = read_whole(link)
        with pytest.raises(RatelError, match="it is an input of this command"):
            write_whole(path, b"after")
        rewrite_whole(path, before, b"rewritten")
    assert path.read_bytes() == b"rewritten"
    write_whole(path, b"after")
    assert path.read_bytes() == b"after"


def test_what_has_changed_since_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"somebody's")
    with pytest.raises(RatelError, match="it has changed since it was read"):
        rewrite_whole(path, b"before", b"after")
    assert path.read_bytes() == b"somebody's"
    path.unlink()
    with pytest.raises(RatelError, match="it is gone"):
        rewrite_whole(path, b"before", b"after")
    nothing_is_left(tmp_path)


def test_names_that_nobody_chose_replace_nothing(tmp_path: Path) -> None:
    same, other, new = (tmp_path / name for name in ("same", "other", "new"))
    same.write_bytes(b"1")
    other.write_bytes(b"mine")
    with pytest.raises(RatelError, match="other: it is there already"):
        write_new({new: b"0", same: b"1", other: b"2"})
    assert other.read_bytes() == b"mine" and not new.exists()
    write_new({new: b"0", same: b"1"})
    assert new.read_bytes() == b"0"


def test_a_name_that_is_no_text() -> None:
    assert name_of(Path(os.fsdecode(b"folder/d\xff\xc3\xa4.npu"))) == "d\\xff\u00e4.npu"
