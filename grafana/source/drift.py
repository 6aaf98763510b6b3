"""mlflow-drift: whether what models see is still what they were trained on."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables

_OF = 'deployment=~"$deployment",feature=~"$feature"'
_EACH = "deployment, model, version, feature"
_NAME = "{{deployment}} {{feature}}"


def _of(family: str, more: str = "", by: str = "") -> str:
    """The daemon and the serving process may both show it, and with the same values."""
    return f"max by ({_EACH}{by}) (mlflow_deployment_feature_{family}{{{more}{_OF}}})"


def dashboard() -> models.Dashboard:
    return parts.board(
        "Data Drift",
        "mlflow-drift",
        "Features of models in production beside their baseline: drift, missing values, quantiles.",
        [variables.deployment(), variables.feature(), variables.top()],
        {"Drift": _drift(), "Values": _values()},
    )


def _drift() -> list[parts.PanelBuilder]:
    psi, others = _of("drift_score", 'method="psi",'), _of("drift_score", 'method=~"ks|chi2|js",', ", method")
    return [
        parts.number("Features", "That are looked at.", f"count({_of('missing_ratio')})", span=6),
        parts.number(
            "Drifted", "Features with a PSI above 0.25.", f"count({psi} > 0.25) or vector(0)", bad_from=1, span=6
        ),
        parts.number("Worst", "The largest PSI of all features.", f"max({psi})", bad_from=0.25, span=6, trend=True),
        parts.number(
            "Values",
            "In which drift was found; the fewest of any feature.",
            f"min({_of('drift_samples')})",
            span=6,
        ),
        parts.bars(
            "How far each feature is from its baseline",
            "Population stability index: below 0.1 nothing, above 0.25 drift.",
            f"topk($top, {psi})",
            _NAME,
        ),
        parts.curves("Drift over time", "Population stability index of each feature.", {_NAME: f"topk($top, {psi})"}),
        parts.curves(
            "By other methods",
            "Kolmogorov-Smirnov for numbers, the chi-square test's effect for categories, and Jensen-Shannon.",
            {_NAME + " {{method}}": f"topk($top, {others})"},
            span=24,
        ),
    ]


def _values() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Missing values",
            "Share of each feature's values that are missing.",
            {_NAME: f"topk($top, {_of('missing_ratio')})"},
            unit="percentunit",
        ),
        parts.curves(
            "Quantiles",
            "Of the numbers of each feature: what 5 %, 50 % and 95 % do not exceed.",
            {_NAME + " {{quantile}}": f"topk($top, {_of('quantile', '', ', quantile')})"},
        ),
        parts.curves(
            "Different values",
            "About how many different values each feature has in a window.",
            {_NAME: f"topk($top, {_of('distinct')})"},
            span=24,
        ),
    ]
