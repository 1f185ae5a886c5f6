"""Optuna: which points are next, by what is known: TPE for one goal, NSGA-II for several.

It asks in rounds of one size, whoever computes them, so a search goes the same way on one core and on a cluster, and
one that was ended goes on where it was, for it asks the same again, of which the outcomes are known.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from explore.evaluate import Outcome
from explore.extras import package
from explore.space import Parameter, Point
from isa.chip_file import COUNT, WORD

# Points of a round. Assumed: enough for the cores of a computer; TPE learns between rounds.
ROUND = 8
# Points that NSGA-II breeds from.
POPULATION = 24


class Search:
    """A search for points that are least in one goal, or in several."""

    def __init__(self, space: Sequence[Parameter], goals: Sequence[str], count: int, seed: int) -> None:
        """Begin a search among so many points, `count`; raise InputError where Optuna is not installed."""
        self._optuna = optuna = package("optuna", "a search is made")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._goals, self._count = space, goals, count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That an option is an experiment of Optuna's.
            if len(goals) == 1:
                sampler = optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, constant_liar=True, n_startup_trials=max(10, count // 10)
                )
            else:
                sampler = optuna.samplers.NSGAIISampler(population_size=min(POPULATION, max(2, count // 4)), seed=seed)
        self._study = optuna.create_study(directions=["minimize"] * len(goals), sampler=sampler)
        self._told: dict[tuple[Any, ...], Outcome | None] = {}

    def rounds(self) -> Iterator[list[Point]]:
        """Yield the points of each round, all different from each other and those before; `tell` what becomes of them.

        There are fewer than `count` where there are no more, or none that the search has not asked for already.
        """
        asked = 0
        while asked < self._count:
            self._trials = list[tuple[Any, Point]]()
            # What it asks for again is answered at once.
            for _ in range(20 * ROUND):
                trial = self._study.ask()
                point = {one.key: self._suggested(trial, one) for one in self._space}
                name = tuple(point.values())
                if name not in self._told:
                    self._told[name] = None
                    self._trials.append((trial, point))
                    if len(self._trials) == min(ROUND, self._count - asked):
                        break
                elif (known := self._told[name]) is not None:
                    self._answer(trial, known)
                else:
                    # It is of this round.
                    self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            if not self._trials:
                return
            asked += len(self._trials)
            yield [point for _, point in self._trials]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of a round, in its order."""
        for (trial, point), found in zip(self._trials, outcomes, strict=True):
            self._told[tuple(point.values())] = found
            self._answer(trial, found)

    def _answer(self, trial: Any, found: Outcome) -> None:
        states = self._optuna.trial.TrialState
        if not found.error:
            self._study.tell(trial, [found.values[goal] for goal in self._goals])
        elif len(self._goals) == 1:
            # Worse than all that run, which TPE learns from.
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, state=states.FAIL)

    def _suggested(self, trial: Any, one: Parameter) -> Any:
        if not one.values:
            suggest = trial.suggest_int if one.kind == COUNT else trial.suggest_float
            # Sizes and rates differ by factors.
            return suggest(one.key, one.low, one.high, log=one.low > 0)
        if one.kind == WORD:
            return trial.suggest_categorical(one.key, list(one.values))
        # By their places: values that are next to each other are alike.
        values = sorted(one.values)
        return values[trial.suggest_int(one.key, 0, len(values) - 1)] if len(values) > 1 else values[0]
