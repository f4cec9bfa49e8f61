"""What every rule has, and that the conda environment asks for what the package asks for."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
import yaml
from dry_runs import ROOT, all_rules, prepare

CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    prepare(folder)
    return {rule.name: rule for rule in all_rules(folder) if rule.output}


def test_every_rule_says_what_it_does_and_leaves_log_and_benchmark(rules):
    assert len(rules) >= 15
    for name, rule in rules.items():
        assert rule.message, name
        assert rule.log, name
        assert rule.benchmark, name


def test_every_rule_says_what_it_needs(rules):
    for name, rule in rules.items():
        assert rule.resources["_cores"].raw >= 1, name
        assert rule.resources["mem_mb"].raw > 0, name
        assert rule.resources["runtime"].raw > 0, name
        assert rule.conda_env, name


def test_every_rule_has_one_params_value(rules):
    """Snakemake compares params as a set; one JSON text cannot lose what belongs to which name."""
    for name, rule in rules.items():
        assert list(rule.params.keys()) == ["parameters"], name


def test_log_and_terminal_both_get_what_a_stage_says(rules):
    for name, rule in rules.items():
        assert rule.shellcmd.startswith(f"python -m ulmpipe {name} "), name
        assert rule.shellcmd.endswith(" 2>&1 | tee -i {log}"), name


def test_snakemake_s_own_lint_is_content():
    answer = subprocess.run(["snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_conda_environment_has_the_ranges_of_the_package():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "workflow/envs/ulmpipe.yaml").read_text())["dependencies"]
    wanted = {"python": package["requires-python"], "pip": ""}
    for requirement in package["dependencies"]:
        name, versions = re.fullmatch(r"([A-Za-z0-9-]+)(.*)", requirement).groups()
        wanted[CONDA_NAMES.get(name, name)] = versions
    found = dict(part.split(" ") if " " in part else (part, "") for part in environment)
    assert found == wanted


@pytest.mark.parametrize("profile", ["default", "slurm", "gpu"])
def test_every_profile_resumes_and_reruns_alike(profile):
    content = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())
    assert content["rerun-incomplete"] is True
    assert content["nolock"] is True
    assert set(content["rerun-triggers"]) == {"mtime", "params", "input", "software-env"}
    assert "keep-incomplete" not in content  # half a store would count as whole
