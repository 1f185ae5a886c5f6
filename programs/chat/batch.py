"""Let the character model go on with several texts at once, whose keys and values lie in pages of device memory.

    python -m programs.chat.batch "The return value is" "for x in range(" "A class" "~"

A task computes one character of each text in hand, so that weights are read once for all. A text takes pages as it
begins and gives them back as it ends; another then takes its place, while the rest go on. Which page holds what says a
table, by which `gather` picks and `scatter` puts: of all texts that wait, no more are begun than there are pages for.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import ratel
from programs.chat.__main__ import CONTEXT, DONE, FAILED, FOLDER, numbers_of

f32 = np.float32
LAYERS, WIDTH, GROUPS, EACH, HEAD, INNER = 4, 128, 2, 2, 32, 352
# Texts in hand, places of a page, and pages: half of what as many texts of full length would take. The first page is
# of those places where no text is in hand.
SLOTS, PAGE, PAGES = 4, 16, 17
STORED = ("embedding", "wqk", "wv", "wo", "wg", "wu", "wd", "scored", "cosine", "sine")


def program(slots: int = SLOTS, pages: int = PAGES) -> ratel.Program:
    """Return the program: the scores of what follows each character of `token`, at its `place` in its text.

    `row` is where the character's keys and values are kept, counted through all pages; `table` has each text's pages.
    """
    b = ratel.Builder("batch", "zhenwu810e")
    llm = b.include("<llm.npu>")
    stored = [b.weight(name, np.load(FOLDER / f"{name}.npy")) for name in STORED]
    embedding, wqk, wv, wo, wg, wu, wd, scored, cosine, sine = stored
    ahead = b.weight("ahead", np.triu(np.full((CONTEXT, CONTEXT), -1e30, f32), 1))
    mean, epsilon = b.const("mean", [1 / WIDTH], "f32"), b.const("epsilon", [1e-5], "f32")
    root = b.const("root", [HEAD**-0.5], "f32")
    token, place, row = (b.input(name, "i32", (slots,)) for name in ("token", "place", "row"))
    table = b.input("table", "i32", (slots, CONTEXT // PAGE))
    scores = b.output("scores", "f32", (slots, scored.shape[0]))
    said = b.output("said", "i32", (slots, 1))

    # Pages of each layer and group, and the same as rows; zeros at first, since nothing may be read that nobody wrote.
    kept = []
    for name in ("keys", "values"):
        zeros = b.weight(f"{name}_zeros", 0, "f16", (LAYERS, GROUPS, pages * PAGE, HEAD), memory="dev")
        paged = b.local(name, "f16", (LAYERS, GROUPS, pages, PAGE, HEAD), memory="dev", at=zeros)
        rows = b.local(f"{name}_rows", "f16", zeros.shape, memory="dev", at=zeros)
        held = b.local(f"{name}_held", "f16", (2, GROUPS, CONTEXT // PAGE, PAGE, HEAD))
        kept.append((paged, rows, held, b.local(f"{name}_seen", "f16", (2, GROUPS, CONTEXT, HEAD), at=held)))

    x, middle, n = (b.local(name, "f16", (slots, WIDTH)) for name in ("x", "middle", "n"))
    square, hidden = b.local("square", "f32", (slots, 1)), b.local("hidden", "f32", (slots, CONTEXT))
    angles = [b.local(name, "f32", (slots, HEAD // 2)) for name in ("cosines", "sines")]
    turns = [b.local(f"{a.name}_of_heads", "f32", (slots, 1, HEAD // 2), at=a) for a in angles]
    qk, v = b.local("qk", "f16", (slots, (GROUPS * EACH + GROUPS) * HEAD)), b.local("v", "f16", (slots, GROUPS * HEAD))
    heads = b.local("heads", "f16", (slots, GROUPS * EACH + GROUPS, HEAD), at=qk)
    q, key = b.local("q", "f16", (slots, GROUPS * EACH, HEAD)), b.local("key", "f16", (slots, GROUPS, HEAD))
    queries = b.local("queries", "f16", (slots, GROUPS, EACH, HEAD), at=q)
    value = b.local("value", "f16", key.shape, at=v)
    likely = b.local("likely", "f32", (2, GROUPS, EACH, CONTEXT))
    shares = b.local("shares", "f16", likely.shape)
    total, found = b.local("total", "f32", (2, GROUPS, EACH, 1)), b.local("found", "f16", queries.shape)
    mixed = b.local("mixed", "f16", (slots, WIDTH), at=found)
    gate, inner = (b.local(name, "f16", (slots, INNER)) for name in ("gate", "inner"))

    b.gather(x, embedding, token)
    b.gather(hidden, ahead, place)
    for angle, whole in zip(angles, (cosine, sine), strict=True):
        b.gather(angle, whole, place)
    with b.loop(LAYERS, "layer") as layer:
        llm.rms_norm(n, x, square, mean, epsilon)
        b.matmul(qk, n, wqk[layer], transpose_w=True)
        b.matmul(v, n, wv[layer], transpose_w=True)
        llm.rotary(q, key, heads[:, : GROUPS * EACH], heads[:, GROUPS * EACH :], *turns)
        for (_, rows, _, _), new in zip(kept, (key, value), strict=True):
            for group in range(GROUPS):
                b.scatter(rows[layer, group], new[:, group], row)
        with b.loop(slots, "slot") as slot:
            turn = slot % 2
            for paged, _, held, _ in kept:
                b.gather(held[turn], paged[layer], table[slot], axis=1)
            keys, values = (seen[turn] for _, _, _, seen in kept)
            llm.attention(
                found[slot], queries[slot], keys, values, root, likely[turn], shares[turn], total[turn], hidden[slot]
            )
        b.matmul(middle, mixed, wo[layer], transpose_w=True, add=x)
        llm.rms_norm(n, middle, square, mean, epsilon)
        llm.swiglu(inner, n, wg[layer], wu[layer], gate)
        b.matmul(x, inner, wd[layer], transpose_w=True, add=middle)
    llm.rms_norm(n, x, square, mean, epsilon)
    b.matmul(scores, n, scored, transpose_w=True)
    b.reduce(said, scores, argmax=True)
    return b.build()


@dataclass
class Text:
    """A text in hand: its characters by number, how many it is to have, and the pages that it holds."""

    number: int
    characters: list[int]
    length: int
    pages: list[int] = field(default_factory=list)
    place: int = 0


class Batch:
    """Texts that are gone on with together, by a program for `slots` and `pages`."""

    def __init__(self, session: ratel.Session, slots: int = SLOTS, pages: int = PAGES) -> None:
        self.session = session
        self.pages, self.free = pages - 1, list(range(1, pages))
        self.waiting: list[Text] = []
        self.slots: list[Text | None] = [None] * slots

    def begin(self) -> None:
        """Take texts in hand, in the order in which they came, while there are a slot and pages for the next."""
        for slot, text in enumerate(self.slots):
            if text is None and self.waiting and -(-self.waiting[0].length // PAGE) <= len(self.free):
                text = self.slots[slot] = self.waiting.pop(0)
                text.pages = [self.free.pop() for _ in range(-(-text.length // PAGE))]

    def step(self) -> list[tuple[Text, np.ndarray]]:
        """Compute the next place of each text in hand; return them with the scores of what follows there."""
        self.begin()
        token, place, row = (np.zeros(len(self.slots), np.int32) for _ in range(3))
        table = np.zeros((len(self.slots), CONTEXT // PAGE), np.int32)
        for slot, text in enumerate(self.slots):
            if text is not None:
                token[slot], place[slot] = text.characters[text.place], text.place
                row[slot] = text.pages[text.place // PAGE] * PAGE + text.place % PAGE
                table[slot, : len(text.pages)] = text.pages
        found = self.session.run({"token": token, "place": place, "row": row, "table": table}).outputs
        done = []
        for slot, text in enumerate(self.slots):
            if text is None:
                continue
            done.append((text, found["scores"][slot]))
            text.place += 1
            if text.place == len(text.characters):
                text.characters.append(int(found["said"][slot, 0]))
            if len(text.characters) == text.length:
                self.free += text.pages
                self.slots[slot] = None
        return done

    def run(self, texts: Sequence[Text]) -> Iterator[list[tuple[Text, np.ndarray]]]:
        """Yield what each step computes, until all texts have their length.

        Raises InputError for one that more pages would hold than there are.
        """
        for text in texts:
            if text.length > PAGE * self.pages:
                message = f"a text of {text.length} characters needs more than the {self.pages} pages of {PAGE}"
                raise ratel.InputError(message, "give a smaller length, or the program more pages")
        self.waiting += texts
        while self.waiting or any(self.slots):
            yield self.step()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m programs.chat.batch", description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="+", help="what the texts begin with")
    parser.add_argument("--length", type=int, default=CONTEXT, metavar="N", help="characters of each (default: 128)")
    options = parser.parse_args()
    alphabet = (FOLDER / "alphabet.txt").read_text(encoding="ascii")
    try:
        texts = [Text(k, numbers_of(prompt), options.length) for k, prompt in enumerate(options.prompts)]
        for text in texts:
            if not len(text.characters) < text.length <= CONTEXT:
                known = f"give more than the {len(text.characters)} of the prompt, and {CONTEXT} at most"
                raise ratel.InputError(f"a text cannot have {text.length} characters", known)
        with ratel.Session(program()) as session:
            steps = sum(1 for _ in Batch(session).run(texts))
    except ratel.RatelError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    for text in texts:
        print("".join(alphabet[number] for number in text.characters), end="\n\n")
    print(f"{sum(text.length - 1 for text in texts)} characters were computed in {steps} steps")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
