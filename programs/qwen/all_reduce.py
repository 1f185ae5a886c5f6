"""The sum over cards that tensor parallelism needs: a ring, on a chip whose cores stand for cards.

Part k goes round from card to card, each adds its own, and card k - 1 has the whole sum; that goes round again.
Data lie in device memory and pass the local memory in pieces, two at a time: while one is added, the other is on the
links. Who writes into a card's local memory needs no leave: before it writes there again, it has waited for what that
card sent after it had read.
"""

from math import ceil

import ratel

# Elements of a part that pass the local memory at once.
PIECE = 2**20


def all_reduce(chip: str, elements: int, dtype: str = "f16", cards: int = 8) -> ratel.Program:
    """Return the program: card c has x{c}, and afterwards y{c}, the sum of all; `elements` is a multiple of the cards.

    Raises InputError where it is not.
    """
    if elements % cards:
        raise ratel.InputError(f"{elements} elements for {cards} cards", "give as many to each")
    pieces = ceil(elements // cards / PIECE)
    piece, streams = ceil(elements // cards / pieces), min(pieces, 2)
    rounds = ceil(pieces / streams)
    b = ratel.Builder("all_reduce", chip=chip)
    # A card has written a part that is to be added, or one that is whole, into the next card.
    added, whole = ([b.declare("semaphore", f"{name}{card}") for card in range(cards)] for name in ("added", "whole"))
    given, made, own, inbox = [], [], [], []
    for card in range(cards):
        with b.core(card):
            shape = (rounds * streams, cards, piece)
            given.append(b.input(f"x{card}", dtype, shape, memory="dev"))
            made.append(b.output(f"y{card}", dtype, shape, memory="dev"))
            own.append(b.local("own", dtype, (streams, cards, piece)))
            inbox.append(b.local("inbox", dtype, (streams * (cards - 1), piece)))
    for card in range(cards):
        before, behind = (card - 1) % cards, (card + 1) % cards
        with b.core(card), b.loop(rounds) as r:
            for stream in range(streams):
                b.load(own[card][stream], given[card][r * streams + stream])
            for step in range(cards - 1):
                for stream in range(streams):
                    part = inbox[behind][stream * (cards - 1) + step]
                    b.copy(part, own[card][stream, (card - step) % cards])
                    b.signal(added[card], pe=True, wait="m")
                for stream in range(streams):
                    mine = own[card][stream, (card - step - 1) % cards]
                    b.wait(added[before], te=True)
                    b.eltwise(mine, inbox[card][stream * (cards - 1) + step], add=mine)
            for step in range(cards - 1):
                for stream in range(streams):
                    k = (card + 1 - step) % cards
                    if step:
                        b.wait(whole[before], me=True)
                    b.copy(own[behind][stream, k], own[card][stream, k])
                    b.signal(whole[card], pe=True, wait="m")
            for stream in range(streams):
                b.wait(whole[before], me=True)
                b.store(made[card][r * streams + stream], own[card][stream])
    return b.build()
