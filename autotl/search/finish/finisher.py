"""The end of a search: ship on validation, refit, touch the holdout once, give the verdict."""

import time
from collections.abc import Sequence

import numpy as np

from autotl.adapt.raw import RawModel
from autotl.data import Task
from autotl.features import BackboneSession
from autotl.result.intervals import REPETITIONS, Gap, paired_gap
from autotl.result.predictors import EnsemblePredictor, TransferPredictor
from autotl.result.wording import count
from autotl.search.budget import Budget, OutOfTime
from autotl.search.finish.again import REFIT_MARGIN, Contender, fit_seconds, holdout_seconds
from autotl.search.finish.beside import beside_seconds, other_data
from autotl.search.finish.contest import Contest, Standing
from autotl.search.finish.ensemble import Ensemble, build_ensemble
from autotl.search.finish.finalists import ShippingRule
from autotl.search.finish.finish import Finish
from autotl.search.finish.refit import REPORT_SECONDS, Refit, Refitted
from autotl.search.finish.repeats import Repeats
from autotl.search.finish.soup import PredictorOf, Soup, find_soup
from autotl.search.floor.baselines import Baseline
from autotl.search.floor.measurement import FloorMeasurement
from autotl.search.limits import measure_latency_ms
from autotl.search.progress import Progress
from autotl.search.study.candidate import Outcome
from autotl.specs import AdaptationSpec, SavedState

_LATENCY_SECONDS = 3.0  # loading the network again included
_BARE_FLOOR = (
    "The floor is only the majority class: no other baseline could be measured, so beating it "
    "says little. The list of floors says why."
)


class Finisher:
    """Finish a search on a task.

    Args:
        task: The task.
        measurement: Fits the floor.
        baselines: The floor first; floors of the finalist's make join it.
        budget: The clock.
        progress: Where to say what is happening.
        seed: Of the refit.
    """

    def __init__(
        self,
        task: Task,
        measurement: FloorMeasurement,
        baselines: list[Baseline],
        budget: Budget,
        progress: Progress,
        seed: int,
    ) -> None:
        self.task, self.measurement, self.baselines = task, measurement, baselines
        self.budget, self.progress, self.seed = budget, progress, seed
        self.hurried = False
        """Whether the user waits for the end: what is not needed for a result is left out."""
        self.gave_up = False
        """Whether the search ended because nothing could beat the floor: nothing to compare."""
        self.predictor_of: PredictorOf = lambda outcome: outcome.saved
        """Returns what was kept of a trial."""
        self.latency_ms: dict[str, float] = {}
        """Milliseconds for one sample by backbone, as far as they were measured."""

    def reserve(self, best: Outcome | None, sessions: dict[str, BackboneSession]) -> float:
        """Return the seconds that finishing will take, given the best outcome so far."""
        floor = self.measurement.final_seconds(self.baselines[0]) * REFIT_MARGIN
        if best is None:
            return floor + REPORT_SECONDS
        session, task = sessions[best.candidate.backbone], self.task
        refit = fit_seconds(best, task, len(task.split.train_validation))
        contest = beside_seconds(task, self.budget)
        if not task.unsupervised:
            contest += self._contest().reserve(best, session)
        refit += holdout_seconds(best.tuned, session, task)
        return floor + REPORT_SECONDS + refit + contest

    def _contest(self) -> Contest:
        return Contest(
            self.task,
            self.measurement,
            self.baselines,
            self.budget,
            self.progress,
            self.seed,
            lambda: self.hurried,
        )

    def run(
        self,
        best: Outcome | None,
        spec: AdaptationSpec | None,
        session: BackboneSession | None,
        contenders: Sequence[Contender] = (),
        rule: ShippingRule | None = None,
        ensemble: bool = False,
    ) -> Finish:
        """Choose the finalist, refit it, touch the holdout once, and say what is shipped.

        Args:
            best: The best trial by validation; None when none finished.
            spec: Its method.
            session: Its backbone.
            contenders: All complete trials that may win, `best` among them or not.
            rule: When the finalist is shipped rather than the floor.
            ensemble: Whether to try a greedy ensemble around the finalist.
        """
        started, rule = time.perf_counter(), rule or ShippingRule()
        floor_before = self.baselines[0]
        notes = list(self.measurement.notes)
        first, standing, blend, soup = None, None, None, None
        if best is not None and spec is not None and session is not None:
            first = Contender(outcome=best, spec=spec, session=session)
            contest = self._contest()
            if self.gave_up or self.task.unsupervised:  # fresh splits would tell of the source
                standing = Standing(
                    task=self.task, finalist=first, finalists=[first], repeats=Repeats()
                )
            else:
                standing = contest.run(first, contenders, rule, self._until)
            notes += contest.notes
            library = [c for c in contenders if c.outcome.trial not in rule.negative]
            if not self.hurried and not self.task.unsupervised:  # whose validation is no target's
                if ensemble:
                    blend = build_ensemble(standing.finalist, library, self.task, self.seed)
                soup = self._soup(standing.finalist, library, notes)
        chosen_at = time.perf_counter()
        self.progress.stage("Refit", "on train and validation")
        floor = self._fit_floor(notes)
        refitted = None
        if first is not None and standing is not None:
            refit = Refit(self.task, self.budget, self.progress, self.seed, lambda: self.hurried)
            refitted = refit.run(first, standing, blend, soup)
            notes += refit.notes
        refitted_at = time.perf_counter()
        finish = self._on_holdout(floor, refitted, notes)
        finish.new_floor = self.baselines[0] is not floor_before
        finish.finalists_seconds = chosen_at - started
        finish.refit_seconds = refitted_at - chosen_at
        finish.holdout_seconds = time.perf_counter() - refitted_at
        self._decide(finish, standing, blend, rule)
        self._measure_latency(refitted)
        finish.guessed = self.task.unsupervised and not self.task.holdout_given
        fitted = None if self.hurried else refitted
        finish.domains = other_data(self.task, fitted, self.budget, self.seed, notes)
        finish.latency_ms = self.latency_ms
        finish.soup = refitted.soup.to_dict() if refitted and refitted.soup else None
        return finish

    def _soup(
        self, finalist: Contender, library: Sequence[Contender], notes: list[str]
    ) -> Soup | None:
        """Average weights around a tuned finalist, while time is left to fit it again."""
        if not finalist.outcome.tuned:
            return None
        try:
            with self.budget.stage(self._until(finalist)):
                return find_soup(finalist, library, self.task, self.predictor_of)
        except (OutOfTime, KeyboardInterrupt):
            pass
        except Exception as error:  # noqa: BLE001  # backbones and methods are plugin code
            notes.append(f"Weights could not be averaged ({type(error).__name__}: {error}).")
        return None

    def _until(self, finalist: Contender) -> float:
        """Return when comparing must have ended, so that this finalist can still be refitted."""
        outcome = finalist.outcome
        keep = self.measurement.final_seconds(self.baselines[0]) * REFIT_MARGIN
        keep += fit_seconds(outcome, self.task, len(self.task.split.train_validation))
        keep += holdout_seconds(outcome.tuned, finalist.session, self.task)
        return self.budget.seconds - REPORT_SECONDS - keep

    def _fit_floor(self, notes: list[str]) -> RawModel | TransferPredictor:
        """Fit the floor; where a floor of the finalist's make fails, the next one takes over."""
        while True:
            baseline = self.baselines[0]
            try:
                return self.measurement.final(baseline)
            except Exception as error:
                if len(self.baselines) < 2 or self.baselines[1].state != "complete":
                    raise
                baseline.state, baseline.reason = "failed", f"{type(error).__name__}: {error}"
                self.baselines.append(self.baselines.pop(0))
                notes.append(
                    f"{baseline.name!r} could not be fitted on train and validation "
                    f"({baseline.reason}), so {self.baselines[0].name!r} is the floor."
                )

    def _on_holdout(
        self, floor: RawModel | TransferPredictor, refitted: Refitted | None, notes: list[str]
    ) -> Finish:
        """Touch the holdout, once for each model that may be shipped."""
        holdout = self.task.split.holdout
        self.progress.stage("Holdout", f"{count(len(holdout), 'sample')}, touched once")
        finish = Finish(
            shipped="floor",
            transfer=None,
            floor=floor,
            transfer_proba=None,
            floor_proba=self.measurement.holdout_proba(self.baselines[0], floor),
            gap=None,
            refit_seconds=0.0,
            holdout_seconds=0.0,
            notes=notes,
            bare=self.baselines[0].bare,
        )
        if refitted is None:
            return finish
        proba = self._predict_holdout(refitted.contender, refitted.saved, notes)
        if proba is None:
            return finish
        alone = self._predictor(refitted.contender, refitted.saved)
        finish.finalist, finish.finalist_proba = refitted.contender.outcome, proba
        finish.transfer, finish.transfer_proba = self._joined(alone, proba, refitted, notes)
        finish.gap = self.compare(finish.transfer_proba, finish.floor_proba, holdout)
        if finish.bare:
            notes.append(_BARE_FLOOR)
        return finish

    def _joined(
        self, alone: TransferPredictor, proba: np.ndarray, refitted: Refitted, notes: list[str]
    ) -> tuple[TransferPredictor | EnsemblePredictor, np.ndarray]:
        """Return the ensemble where all its members predict, else the finalist alone."""
        blend = refitted.ensemble
        if blend is None:
            return alone, proba
        members, probas = [alone], [proba]
        for member, saved in zip(blend.members[1:], refitted.others, strict=True):
            own = self._predict_holdout(member, saved, [])
            if own is None:
                notes.append(f"{member.name} failed on the holdout; the finalist is used alone.")
                return alone, proba
            members.append(self._predictor(member, saved))
            probas.append(own)
        joined = EnsemblePredictor(members=members, weights=blend.weights)
        return joined, joined.mix(probas)

    def _predictor(self, contender: Contender, saved: SavedState) -> TransferPredictor:
        return TransferPredictor(
            backbone=contender.session.spec,
            adaptation=contender.spec.name,
            saved=saved,
            modality=self.task.modality,
            device=contender.session.device,
        )

    def _predict_holdout(
        self, contender: Contender, saved: SavedState, notes: list[str]
    ) -> np.ndarray | None:
        """Return holdout probabilities; a failure costs the candidate, never the run."""
        try:
            inputs = contender.session.inputs(self.task.split.holdout)
            proba = contender.spec.restore(saved).predict_proba(inputs)
        except Exception as error:  # noqa: BLE001  # backbones and methods are plugin code
            notes.append(
                f"{contender.name} failed on the holdout "
                f"({type(error).__name__}: {error}), so the floor is the fitted model."
            )
            return None
        if np.isfinite(proba).all():
            return proba
        notes.append(
            f"{contender.name} predicted NaN or infinity on the holdout, so the floor is the "
            "fitted model."
        )
        return None

    def _decide(
        self,
        finish: Finish,
        standing: Standing | None,
        blend: Ensemble | None,
        rule: ShippingRule,
    ) -> None:
        """Fill in what is shipped and why: by validation, the holdout has no say."""
        if standing is None or finish.transfer is None:
            return
        ships, why = standing.decide(self.baselines[0], rule)
        finish.shipped, finish.why_floor = ("transfer", "") if ships else ("floor", why)
        finish.standing = standing.to_dict(rule)
        if blend is not None:
            finish.ensemble = blend.to_dict(
                used=ships and isinstance(finish.transfer, EnsemblePredictor)
            )

    def _measure_latency(self, refitted: Refitted | None) -> None:
        """Time the finalist's backbone on one sample, where that was not done before."""
        if refitted is None or self.hurried or self.budget.left() < _LATENCY_SECONDS:
            return
        session = refitted.contender.session
        if session.spec.name not in self.latency_ms:
            try:
                self.latency_ms[session.spec.name] = measure_latency_ms(session)
            except Exception:  # noqa: BLE001  # backbones are plugin code; a number less
                return

    def compare(
        self,
        candidate: np.ndarray,
        floor: np.ndarray,
        rows: np.ndarray,
        repetitions: int = REPETITIONS,
    ) -> Gap:
        """Return candidate minus floor on some rows with its paired interval."""
        return paired_gap(
            self.task.metric.kind,
            self.task.metric,
            self.task.y[rows],
            candidate,
            floor,
            groups=self.task.groups[rows],
            repetitions=repetitions,
            seed=self.seed,
        )

    def score_baselines(self, finish: Finish) -> None:
        """Fill in the floor's holdout score, and the other baselines' while time is left."""
        y = self.task.y[self.task.split.holdout]
        self.baselines[0].holdout = float(self.task.metric(y, finish.floor_proba))
        for baseline in self.baselines[1:]:
            need = REPORT_SECONDS + self.measurement.final_seconds(baseline) * REFIT_MARGIN
            if baseline.state != "complete" or self.budget.left() < need or self.hurried:
                continue
            try:
                model = self.measurement.final(baseline)
                proba = self.measurement.holdout_proba(baseline, model)
                baseline.holdout = float(self.task.metric(y, proba))
            except Exception as error:  # noqa: BLE001  # raw features are plugin code
                baseline.reason = f"on the holdout: {type(error).__name__}: {error}"
