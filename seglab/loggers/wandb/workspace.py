"""Writes the saved view and the report of a W&B project; running it again updates both.

The view has a name of its own in the project's views, and the report is found by its title.
"""

from __future__ import annotations

from typing import Any

from seglab.errors import ConfigError, RunError, one_line
from seglab.loggers.wandb.connection import KEY_HINT, missing_key

try:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr
    from wandb_workspaces.workspaces import internal

    from seglab.loggers.wandb.panels import COLUMNS, ORDER, sections
except ImportError:
    raise ConfigError(
        "seglab workspace needs wandb-workspaces: pip install 'seglab[workspace]'"
    ) from None

VIEW, NAME = "seglab", "nw-seglab-v"
"""The title of the view, and its name on the server: what ``nw=seglab`` in a URL stands for."""

TRAINED = "JobType = 'train'"

RUNS = 50
"""The newest ones, whose keys are looked at."""


def lay_out(project: str, entity: str | None) -> dict[str, str]:
    """Write view and report, and return their URLs.

    Raises:
        ConfigError: there is no key.
        RunError: the server cannot be reached, or refuses.
    """
    if missing := missing_key():
        raise ConfigError(f"seglab workspace: {missing}: {KEY_HINT}")
    import wandb

    try:
        api = wandb.Api(timeout=30)
        owner = entity or str(api.default_entity)
        found = sections(*_logged(api, f"{owner}/{project}"))
        view = _save_view(owner, project, found)
        return {"workspace": view, "report": _save_report(api, owner, project, found)}
    except Exception as error:  # the client has no common base class for its errors
        raise RunError(f"logger.project={project}: {one_line(error)}") from None


def _logged(api: Any, path: str) -> tuple[set[str], dict[str, set[Any]]]:
    """Return the keys of the newest runs' summaries, and the values of what was tuned."""
    runs = api.runs(path, {"jobType": "train"}, order="-created_at", per_page=RUNS, lazy=False)
    newest = [run for run, _ in zip(runs, range(RUNS), strict=False)]
    tuned: dict[str, set[Any]] = {}
    for run in newest:
        for name, value in dict(run.config.get("tuned") or {}).items():
            tuned.setdefault(name, set()).add(value)
    return {key for run in newest for key in dict(run.summary)}, tuned


def _save_view(entity: str, project: str, panels: dict[str, list[Any]]) -> str:
    url = f"https://wandb.ai/{entity}/{project}?nw={VIEW}"
    try:
        view = workspaces.Workspace.from_url(url)
    except ValueError:  # none of this name
        empty = internal.ViewspecSection(
            panel_bank_config=internal.PanelBankConfig(),
            panel_bank_section_config=internal.PanelBankSectionConfig(),
            custom_run_colors={},
        )
        spec = internal.WorkspaceViewspec(section=empty)
        where = {"entity": entity, "project": project, "display_name": VIEW}
        internal.upsert_view2(internal.View(**where, name=NAME, id="", spec=spec))
        view = workspaces.Workspace.from_url(url)
    view.sections = [
        workspaces.Section(name=name, panels=some, is_open=name != "Machine")
        for name, some in panels.items()
    ]
    view.settings = workspaces.WorkspaceSettings(max_runs=100)
    view.runset_settings = workspaces.RunsetSettings(
        filters=TRAINED,
        groupby=[expr.Config("recipe")],
        order=[expr.Ordering(expr.Summary(ORDER), ascending=False)],
        pinned_columns=list(COLUMNS),
    )
    return str(view.save().url)


def _save_report(api: Any, entity: str, project: str, panels: dict[str, list[Any]]) -> str:
    title = f"seglab {project}"
    known = [one for one in api.reports(f"{entity}/{project}") if one.display_name == title]
    report = (
        reports.Report.from_url(known[0].url)
        if known
        else reports.Report(project=project, entity=entity, title=title)
    )
    runset = reports.Runset(
        entity=entity,
        project=project,
        name="training runs, by recipe",
        filters=TRAINED,
        groupby=["config.recipe"],
        order=[reports.OrderBy(reports.SummaryMetric(ORDER), ascending=False)],
        pinned_columns=list(COLUMNS),
    )
    report.description = "Written by `seglab workspace`, which replaces what is changed here."
    report.width = "fluid"
    report.blocks = [
        block
        for name, some in panels.items()
        for block in (reports.H2(name), reports.PanelGrid(runsets=[runset], panels=some))
    ]
    return str(report.save().url)
