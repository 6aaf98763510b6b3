"""The rules of lint, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.analysis.lint import of_curves, of_experiments, of_runs
from mlflow_monitoring_exporter.analysis.lint.findings import ExperimentFacts, LintFinding, RunFacts

#: Runs that a finding names.
_NAMED = 5

#: What is wrong with a run, in words; None if nothing is.
OfRun = Callable[[RunFacts], str | None]
#: What is wrong with an experiment as a whole, and the runs that show it.
OfExperiment = Callable[[ExperimentFacts], tuple[str, Sequence[str]] | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """``name`` is what is selected and ignored; ``advice`` what to do. Either looks at each run, or at all together."""

    name: str
    advice: str
    of_run: OfRun | None = None
    of_experiment: OfExperiment | None = None


RULES: tuple[Rule, ...] = (
    Rule(
        "single-metric",
        "log what else would tell a good model from a bad one: validation beside training, and what users care about",
        of_experiment=of_experiments.single_metric,
    ),
    Rule(
        "no-seed",
        "log the seed as a parameter, so that the run can be repeated and noise be told from progress",
        of_run=of_runs.no_seed,
    ),
    Rule(
        "no-commit",
        "start the training from a git work tree, or set the tag mlflow.source.git.commit",
        of_run=of_runs.no_commit,
    ),
    Rule(
        "dirty-commit",
        "commit before training, or log the difference (git diff) as an artifact",
        of_run=of_runs.dirty_commit,
    ),
    Rule(
        "no-dataset",
        "log the data with mlflow.log_input, or its version as a parameter or tag",
        of_run=of_runs.no_dataset,
    ),
    Rule("no-steps", "pass step= with every value: without it curves cannot be drawn", of_run=of_curves.no_steps),
    Rule(
        "steps-back",
        "go on from the last step when a run is resumed; values of one step overwrite each other in curves",
        of_run=of_curves.steps_back,
    ),
    Rule(
        "params-changed",
        "begin a new run when a parameter changes: MLflow keeps the first value, so this run says what is not so",
        of_run=of_runs.params_changed,
    ),
    Rule(
        "never-ended",
        "end the run (mlflow.end_run, or with mlflow.start_run()), or set its status to KILLED",
        of_run=of_curves.never_ended,
    ),
    Rule(
        "large-artifact",
        "keep what is large where it lies, and log its address; or delete what nobody loads",
        of_run=of_runs.large_artifact,
    ),
    Rule(
        "copied-artifact",
        "log the file once, as an input or a registered model, and refer to it",
        of_experiment=of_experiments.copied_artifact,
    ),
    Rule(
        "colliding-names",
        "rename all but one: in Prometheus only a label tells them apart",
        of_experiment=of_experiments.colliding_names,
    ),
    Rule(
        "no-description",
        "say in one sentence what the experiment tries (its description in MLflow)",
        of_experiment=of_experiments.no_description,
    ),
    Rule(
        "no-owner",
        "set the experiment's tag owner or team, so that somebody is asked before it is deleted",
        of_experiment=of_experiments.no_owner,
    ),
    Rule(
        "once-per-epoch",
        "log the training loss every some steps: within a long epoch nobody sees that a run diverges",
        of_run=of_curves.once_per_epoch,
    ),
)


def lint(
    experiments: Iterable[ExperimentFacts],
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> tuple[LintFinding, ...]:
    """What the rules find, by experiment and in the order of the rules.

    ``select`` are the names of the only rules to apply, ``ignore`` of those to leave out; raises ValueError for a name
    that is none.
    """
    selected, ignored = tuple(select), tuple(ignore)
    names = [rule.name for rule in RULES]
    for name in (*selected, *ignored):
        if name not in names:
            raise ValueError(f"there is no rule {name}, only {', '.join(names)}")
    rules = [rule for rule in RULES if (not selected or rule.name in selected) and rule.name not in ignored]
    return tuple(
        finding for experiment in experiments for rule in rules if (finding := _applied(rule, experiment)) is not None
    )


def _applied(rule: Rule, experiment: ExperimentFacts) -> LintFinding | None:
    if rule.of_experiment is not None:
        seen = rule.of_experiment(experiment)
        if seen is None:
            return None
        evidence, run_ids = seen
        of = len(experiment.runs) if run_ids else 0
        return LintFinding(rule.name, experiment.name, len(run_ids), of, evidence, rule.advice, tuple(run_ids[:_NAMED]))
    if rule.of_run is None:
        return None
    said = [(facts.run.run_id, rule.of_run(facts)) for facts in experiment.runs]
    hits = [(run_id, words) for run_id, words in said if words is not None]
    if not hits:
        return None
    named = tuple(run_id for run_id, _ in hits[:_NAMED])
    return LintFinding(rule.name, experiment.name, len(hits), len(said), hits[0][1], rule.advice, named)
