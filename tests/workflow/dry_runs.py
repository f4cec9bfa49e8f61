"""What Snakemake would run, and a finished run without its computing; the only place that reaches into Snakemake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    ResourceSettings,
    StorageSettings,
)

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())


def prepare(folder: Path) -> None:
    """Make `folder` a working directory of the pipeline."""
    (folder / "config").symlink_to(ROOT / "config")


def pretend(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    targets: tuple[str, ...] = (),
    notemp: bool = False,
) -> None:
    """Leave in `folder` what a finished run leaves: empty outputs and Snakemake's records of them."""
    wanted = frozenset(targets)
    with _workflow(folder, changes, DAGSettings(targets=wanted)) as (dag_api, workflow):
        dag_api.execute_workflow(executor="dryrun")
        outputs = [output for job in workflow.dag.jobs for output in job.output]
    for output in outputs:
        path = folder / output
        path.parent.mkdir(parents=True, exist_ok=True)
        if output.is_directory:
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    with _workflow(folder, changes, DAGSettings(targets=wanted, forceall=True), notemp=notemp) as (
        dag_api,
        _,
    ):
        dag_api.execute_workflow(
            executor="touch", execution_settings=ExecutionSettings(lock=False, no_hooks=True)
        )


def would_run(
    folder: Path, changes: Mapping[str, Any] | None = None, *, targets: tuple[str, ...] = ()
) -> set[str]:
    """What Snakemake would run under the default profile: ``rule`` or ``rule:wildcard,…`` of each job."""
    settings = DAGSettings(
        targets=frozenset(targets),
        rerun_triggers=RerunTrigger.parse_choices_set(PROFILE["rerun-triggers"]),
        force_incomplete=PROFILE["rerun-incomplete"],
    )
    with _workflow(folder, changes, settings) as (dag_api, workflow):
        dag_api.execute_workflow(executor="dryrun")
        return {_name(job) for job in workflow.dag.needrun_jobs(exclude_finished=False) if job.output}


def commands(folder: Path, changes: Mapping[str, Any], targets: tuple[str, ...] = ()) -> dict[str, str]:
    """The shell command of each job of a run from nothing, by the names of `would_run`, in an order that works."""
    with _workflow(folder, changes, DAGSettings(targets=frozenset(targets), forceall=True)) as (
        api,
        workflow,
    ):
        api.execute_workflow(executor="dryrun")
        jobs = [job for level in workflow.dag.toposorted() for job in level]
        return {_name(job): job.shellcmd for job in jobs if job.output}


def all_rules(folder: Path) -> list[Any]:
    """Every rule of the workflow."""
    with _workflow(folder, None, DAGSettings()) as (api, workflow):
        api.execute_workflow(executor="dryrun")
        return list(workflow.rules)


@contextmanager
def _workflow(
    folder: Path, changes: Mapping[str, Any] | None, settings: DAGSettings, *, notemp: bool = False
) -> Iterator[tuple[Any, Any]]:
    configfile = folder / "changes.yaml"
    configfile.write_text(yaml.safe_dump(dict(changes or {})))
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[configfile]),
            storage_settings=StorageSettings(notemp=notemp),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        yield workflow_api.dag(settings), workflow_api._workflow


def _name(job: Any) -> str:
    wildcards = ",".join(filter(None, job.wildcards))
    return f"{job.rule.name}:{wildcards}" if wildcards else job.rule.name
