"""What the dashboards have in common: panels of a few kinds, and links.

Every panel has a description and a unit, and asks the data source that the variable ``datasource`` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as formats

from grafana.source import variables
from grafana.source.variables import OF_METRIC, SOURCE

#: The latest value of a metric in each shown run, whatever its family is called.
OF_RUN = f'{{__name__=~"mlflow_.+",metric!="",run_id!="",run_id=~"$run",model_stage=~"$stage",{OF_METRIC}}}'

GREEN, RED = "green", "red"
#: What words mean at a glance.
COLORS = {
    "Status": {"RUNNING": "blue", "SCHEDULED": "purple", "FINISHED": "green", "FAILED": "red", "KILLED": "orange"},
    "Severity": {"critical": "red", "warning": "orange", "info": "blue"},
}

#: Name of the legend or column -> query.
Queries = Mapping[str, str]
PanelBuilder = Builder[models.Panel]


class _Common(Protocol):
    """What the builders of all kinds of panels can do."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: models.DataSourceRef) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...


P = TypeVar("P", bound=_Common)


def linked(query: str, labels: str) -> str:
    """By these labels, and with the label ``public_url`` of its tracking server where that is known."""
    plain = f"max by ({labels}) ({query})"
    known = "max by (server, public_url) (mlflow_exporter_server_info)"
    return f"{plain} * on (server) group_left (public_url) {known} or on ({labels}) {plain}"


def number(
    title: str,
    description: str,
    query: str,
    *,
    unit: str = "short",
    bad_from: float | None = None,
    span: int = 3,
    trend: bool = False,
) -> PanelBuilder:
    """One large number; red from ``bad_from`` on. With ``trend`` a small curve stands behind it."""
    steps = [models.Threshold(value=None, color=GREEN)]
    if bad_from is not None:
        steps.append(models.Threshold(value=bad_from, color=RED))
    panel = _told(stat.Panel(), title, description, unit, (span, 4))
    return (
        panel.with_target(_query("A", query, "").range() if trend else _query("A", query, "").instant())
        .graph_mode(choices.BigValueGraphMode.AREA if trend else choices.BigValueGraphMode.NONE)
        .color_mode(choices.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def curves(
    title: str,
    description: str,
    wanted: Queries,
    *,
    unit: str = "short",
    span: int = 12,
    stacked: bool = False,
    colors: Mapping[str, str] | None = None,
) -> PanelBuilder:
    """Values over time; the key of each query is its legend. ``colors`` are by what legends become."""
    panel = _told(timeseries.Panel(), title, description, unit, (span, 8))
    for ref, (legend, query) in zip("ABCDEFGH", wanted.items(), strict=False):
        panel = panel.with_target(_query(ref, query, legend).range())
    panel = (
        panel.legend(
            common.VizLegendOptions()
            .display_mode(choices.LegendDisplayMode.TABLE)
            .placement(choices.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(choices.TooltipDisplayMode.MULTI).sort(choices.SortOrder.DESCENDING))
        .line_interpolation(choices.LineInterpolation.STEP_AFTER)
        .show_points(choices.VisibilityMode.AUTO)
        .fill_opacity(40 if stacked else 0)
    )
    for name, color in (colors or {}).items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="color", value=fixed)])
    return panel.stacking(common.StackingConfig().mode(choices.StackingMode.NORMAL)) if stacked else panel


def bars(title: str, description: str, query: str, legend: str, *, unit: str = "short", span: int = 12) -> PanelBuilder:
    """The present values side by side."""
    panel = _told(bargauge.Panel(), title, description, unit, (span, 8))
    return (
        panel.with_target(_query("A", query, legend).instant())
        .orientation(choices.VizOrientation.HORIZONTAL)
        .display_mode(choices.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )


def states(title: str, description: str, query: str, legend: str, *, span: int = 12) -> PanelBuilder:
    """What works (1) and what does not (0), over time."""
    words = {
        "0": models.ValueMappingResult(text="no", color=RED),
        "1": models.ValueMappingResult(text="yes", color=GREEN),
    }
    panel = _told(statetimeline.Panel(), title, description, "bool_yes_no", (span, 8))
    panel = panel.fill_opacity(70).line_width(0).mappings([models.ValueMap(options=words)])
    return panel.with_target(_query("A", query, legend).range())


def rows(
    title: str,
    description: str,
    wanted: Queries,
    columns: Mapping[str, str],
    *,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
    first: str | None = None,
    words: Mapping[str, Mapping[str, str]] | None = None,
    signed: Sequence[str] = (),
    unit: str = "short",
    span: int = 24,
    height: int = 8,
) -> PanelBuilder:
    """A table: queries joined by their common labels, sorted by the field ``first``, the largest at the top.

    ``columns`` are the fields that stay, in order, with the names that they get; the value of the query named N is
    the field ``Value #N``. ``links`` are targets of a column, by its new name; ``hidden`` ones are for links only.
    ``words`` are what the values of a column mean; in ``signed`` columns what is below 0 is red.
    """
    panel = _told(table.Panel(), title, description, unit, (span, height))
    for ref, query in wanted.items():
        panel = panel.with_target(_query(ref, query, "").format(formats.PromQueryFormat.TABLE).instant())
    fields = dict(columns)
    if len(wanted) == 1:
        fields = {name.replace(f"Value #{next(iter(wanted))}", "Value"): new for name, new in fields.items()}
    order = {name: at for at, name in enumerate(fields)}
    panel = (
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="sortBy",
                options={"fields": {}, "sort": [{"field": first or next(iter(fields)), "desc": first is not None}]},
            )
        )
        .with_transformation(
            models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(fields)}})
        )
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {}, "indexByName": order, "renameByName": fields},
            )
        )
        .filterable(filterable=True)
    )
    for name, its in (units or {}).items():
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=its)])
    for name, url in (links or {}).items():
        target = {"title": "Show", "url": url, "targetBlank": not url.startswith("/d/")}
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="links", value=[target])])
    for name in fields.values():
        if name in COLORS:
            panel = panel.override_by_name(name, _colored({word: (word, c) for word, c in COLORS[name].items()}))
    for name, meanings in (words or {}).items():
        panel = panel.override_by_name(name, _colored({word: (text, None) for word, text in meanings.items()}))
    for name in signed:
        steps = [{"value": None, "color": RED}, {"value": 0, "color": "text"}, {"value": 1e-12, "color": GREEN}]
        colors = [
            models.DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps}),
            models.DynamicConfigValue(id_val="color", value={"mode": "thresholds"}),
            models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ]
        panel = panel.override_by_name(name, colors)
    for name in hidden:
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="custom.hidden", value=True)])
    return panel


def _colored(words: Mapping[str, tuple[str, str | None]]) -> list[models.DynamicConfigValue]:
    """What stands for each word of a column, and in which color."""
    options = {
        word: {"text": text, "index": at, **({"color": color} if color else {})}
        for at, (word, (text, color)) in enumerate(words.items())
    }
    found = [models.DynamicConfigValue(id_val="mappings", value=[{"type": "value", "options": options}])]
    if any(color for _, color in words.values()):
        found.append(models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
    return found


#: What an event says; Grafana's library has no field for it.
EVENT_TITLES = {
    "Run ended": "{{experiment_name}}: run {{run_id}} {{status}}",
    "Alias moved": "{{model}}: alias {{alias}} moved",
    "Alert fired": "{{alertname}} {{experiment_name}}",
    "Deployed": "{{model}} {{version}} in {{environment}}",
}


def events() -> list[builders.AnnotationQuery]:
    """What happened, as lines over every curve."""
    run = "server, experiment_name, run_id"
    ended = (
        f'max by ({run}, status) (mlflow_run_info{{status=~"FINISHED|FAILED|KILLED"}})'
        f" unless on ({run}, status) (mlflow_run_info offset 1m)"
        f' and on ({run}) (mlflow_run_info{{status="RUNNING"}} offset 1m)'
    )
    fired = "ALERTS{alertstate='firing',severity=~'critical|warning'} unless ALERTS{alertstate='firing'} offset 1m"
    moved = "changes(mlflow_model_alias_changes_total[1m]) > 0"
    deployed = (
        "max by (server, model, version, environment) (mlflow_deployment_started_timestamp_seconds) > time() - 60"
    )
    queries = {"Run ended": (ended, "blue"), "Alias moved": (moved, "purple"), "Alert fired": (fired, RED)}
    queries["Deployed"] = (deployed, GREEN)
    return [
        builders.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(enable=name != "Run ended")  # there may be hundreds
        .hide(hide=False)
        .icon_color(color)
        .expr(expression)
        for name, (expression, color) in queries.items()
    ]


def board(
    title: str, uid: str, description: str, chosen: Sequence[Builder[models.VariableModel]], content: Any
) -> models.Dashboard:
    """A whole dashboard. ``content`` is row title -> panels."""
    made = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["mlflow"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["mlflow"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .link(
            builders.DashboardLink("MLflow")
            .type(models.DashboardLinkType.LINK)
            .icon("external link")
            .url("${mlflow}")
            .target_blank(target_blank=True)
        )
        .variables([variables.source(), *chosen, variables.mlflow()])
    )
    for event in events():
        made = made.annotation(event)
    for row, panels in content.items():
        made = made.with_row(builders.Row(row))
        for panel in panels:
            made = made.with_panel(panel)
    return made.build()


def _query(ref: str, expression: str, legend: str) -> queries.Dataquery:
    made = queries.Dataquery().ref_id(ref).expr(expression).datasource(SOURCE)
    return made.legend_format(legend) if legend else made


def _told(panel: P, title: str, description: str, unit: str, size: tuple[int, int]) -> P:
    span, height = size
    return panel.title(title).description(description).datasource(SOURCE).unit(unit).span(span).height(height)
