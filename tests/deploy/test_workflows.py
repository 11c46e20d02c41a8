"""The workflows of the public host: pinned by commit, without rights that a job does not use, and never `latest`."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.contracts.test_imports import ROOT

FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text() for path in FOLDER.glob("*.y*ml")}
# `on` is true to YAML 1.1.
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [pytest.param(job, id=f"{name}-{key}") for name, flow in WORKFLOWS.items() for key, job in flow["jobs"].items()]
READING = {"contents": "read"}


def test_there_is_one_to_check_and_one_to_release() -> None:
    assert TEXTS.keys() == {"ci.yml", "release.yml"}


@pytest.mark.parametrize("name", TEXTS)
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(name: str) -> None:
    uses = re.findall(r"uses: (.+)$", TEXTS[name], re.MULTILINE)
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use
    by_version: dict[str, set[str]] = {}
    for text in TEXTS.values():
        for action, commit, version in re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v\S+)", text):
            by_version.setdefault(f"{action} {version}", set()).add(commit)
    assert all(len(commits) == 1 for commits in by_version.values())


@pytest.mark.parametrize("name", TEXTS)
def test_a_workflow_has_no_rights_and_each_job_only_its_own(name: str) -> None:
    flow = WORKFLOWS[name]
    assert flow["permissions"] == {}
    for key, job in flow["jobs"].items():
        assert "permissions" in job, key
        more = {
            "packages": "write",
            "id-token": "write",
            "attestations": "write",
        }
        assert job["permissions"] == (READING | more if (name, key) == ("release.yml", "image") else READING)
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(flow[True])


@pytest.mark.parametrize("job", JOBS)
def test_no_job_keeps_credentials_of_its_checkout_or_puts_what_others_wrote_into_a_script(job: dict[str, Any]) -> None:
    assert "timeout-minutes" in job
    assert "-latest" not in job["runs-on"]
    for step in job["steps"]:
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), "values reach scripts by their environment"


def test_everything_is_checked_by_the_script_that_everybody_runs_and_advisories_strictly() -> None:
    jobs = WORKFLOWS["ci.yml"]["jobs"]
    assert any(step.get("run") == "bash .ci/run" for step in jobs["all"]["steps"])
    for name in ("ci.yml", "release.yml"):
        assert any(step.get("run") == "make audit ARGS=--strict" for step in WORKFLOWS[name]["jobs"]["audit"]["steps"])
    assert "make audit" in (ROOT / ".ci" / "run").read_text()
    images = [entry["image"] for entry in jobs["all"]["strategy"]["matrix"]["include"]]
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images)


def test_a_release_is_known_by_its_digest_signed_and_never_the_latest() -> None:
    text = TEXTS["release.yml"]
    assert "latest" not in text
    job = WORKFLOWS["release.yml"]["jobs"]["image"]
    assert job["needs"] == "audit"
    steps = {str(step.get("name") or step.get("uses", "").partition("@")[0]): step for step in job["steps"]}
    build = steps["Build and push"]["with"]
    assert build["file"] == "deploy/Dockerfile"
    assert (build["push"], build["no-cache"], build["provenance"]) == (True, True, "mode=max")
    for name in ("Provenance", "Parts list of the image"):
        assert steps[name]["with"]["subject-digest"] == "${{ steps.build.outputs.digest }}"
    digest = "${{ steps.name.outputs.image }}@${{ steps.build.outputs.digest }}"
    for name in ("Sign", "Verify as everybody can"):
        assert steps[name]["env"]["IMAGE"] == digest
    assert steps["Sign"]["run"] == 'cosign sign --yes "$IMAGE"'
    assert "--certificate-identity" in steps["Verify as everybody can"]["run"]
