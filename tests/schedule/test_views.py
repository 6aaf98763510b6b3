"""Exporters of which one gets everything, and others only what they can bear."""

from __future__ import annotations

from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.transform.projection import SampleProjection
from tests.schedule.conftest import World


def view(**keys: object) -> SampleProjection:
    return SampleProjection(BatchExporterConfig.model_validate({"type": "any", **keys}))


def keys(world: World, name: str) -> list[tuple[str, int]]:
    return sorted((sample.key, sample.step) for sample in world.samples(name))


def test_each_gets_what_it_selects_and_no_one_reads_what_no_one_wants(world: World) -> None:
    world.mlflow.log("a", "loss", 1, 2)
    world.mlflow.log("a", "val/loss", 1)
    world.mlflow.log("b", "loss", 5, experiment="2")
    world.views = {
        "losses": view(select={"metrics": {"include": "*loss", "exclude": "val/*"}}),
        "two": view(select={"experiments": {"include": "tw?"}}),
    }
    world.poller("losses", "two").run(complete=True)
    assert ("a", "val/loss") not in world.mlflow.asked
    assert keys(world, "losses") == [("loss", 1), ("loss", 2), ("loss", 5)]
    assert keys(world, "two") == [("loss", 5)]
    world.mlflow.log("a", "loss", 3)
    world.mlflow.log("a", "val/loss", 2)
    report = world.poller("losses", "two").run(complete=False)
    assert report.enqueued == {"losses": 1, "two": 0}


def test_what_is_selected_later_is_sent_from_its_beginning_and_nothing_twice(world: World) -> None:
    world.mlflow.log("a", "loss", 1, 2)
    world.mlflow.log("a", "acc", 1, 2)
    world.views = {"sink": view(select={"metrics": {"include": "loss"}})}
    world.poller("sink", "other").run(complete=True)
    assert keys(world, "sink") == [("loss", 1), ("loss", 2)]
    assert len(keys(world, "other")) == 4
    world.mlflow.log("a", "acc", 3)
    world.mlflow.log("a", "loss", 3)
    world.views = {"sink": view()}
    world.poller("sink", "other").run(complete=False)
    assert keys(world, "sink") == [("acc", 1), ("acc", 2), ("acc", 3), ("loss", 3)]
    assert keys(world, "other") == [("acc", 3), ("loss", 3)]
    world.mlflow.asked.clear()
    world.poller("sink", "other").run(complete=False)
    assert world.mlflow.asked == [], "the same selection as before is no other one"


def test_keys_are_renamed_for_one_and_not_for_the_other(world: World) -> None:
    world.mlflow.log("a", "val/loss", 1)
    world.views = {"sink": view(rename={"val/*": "validation.*", "*": "never"})}
    world.poller("sink", "other").run(complete=True)
    assert keys(world, "sink") == [("validation.loss", 1)]
    assert keys(world, "other") == [("val/loss", 1)]


def test_a_long_history_is_thinned_out_for_one_and_not_for_the_other(world: World) -> None:
    world.mlflow.log("a", "loss", *range(1001))
    world.views = {"tenth": view(sample={"every": 100}), "shape": view(sample={"lttb": 20})}
    world.poller("tenth", "shape", "all").run(complete=True)
    assert world.steps("tenth") == [*range(0, 1001, 100)]
    shape = world.steps("shape")
    assert (len(shape), shape[0], shape[-1]) == (20, 0, 1000)
    assert len(world.steps("all")) == 1001
    world.mlflow.log("a", "loss", 1001, 1002)
    world.poller("tenth", "shape", "all").run(complete=True)
    assert world.steps("tenth") == [1002], "what was left out is not sent later, and the newest always is"
    assert world.steps("shape") == [1001, 1002]
