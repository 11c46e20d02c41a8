"""Dashboards, alerts and runbooks: whatever they ask for is there, and every alert was seen to fire."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from recado import metrics
from recado.metrics import endpoint, owned
from recado.metrics.families import Spec

ROOT = Path(__file__).parents[2]
OBSERVED = ROOT / "deploy" / "observability"
RULES = OBSERVED / "prometheus" / "recado.rules.yml"
TESTED = OBSERVED / "prometheus" / "recado.test.yml"
DASHBOARDS = sorted((OBSERVED / "grafana").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks"

#: What Prometheus itself adds to a series, and recado to the lines of a page of two processes.
ADDED = {"instance", "job", "process", "le"}
#: What is asked for beside recado's own: prometheus_client's of each process, and Prometheus's own.
OTHERS = {
    "up": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
}
_WORDS = {
    *("sum", "max", "min", "avg", "count", "by", "on", "and", "or", "unless", "without", "ignoring", "group_left"),
    *("rate", "increase", "histogram_quantile", "avg_over_time", "absent", "abs", "clamp_min", "vector", "offset"),
}
_NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_MATCHED = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def specs() -> dict[str, Spec]:
    """What there is by the names that a query may have."""
    found: dict[str, Spec] = {}
    for one in metrics.ALL:
        spec = one.spec
        ends = ("_bucket", "_count", "_sum") if spec.kind == "histogram" else ("",)
        found |= {spec.name + end: spec for end in ends}
    return found


def asked(expression: str) -> list[tuple[str, str]]:
    """The metrics that a query asks for, with their matchers."""
    bare = _GROUPED.sub("", re.sub(r"\[[^\]]*\]", "", expression))
    return [(found[1], found[2] or "") for found in _NAME.finditer(bare) if found[1] not in _WORDS]


def wrong_with(expression: str, recorded: set[str]) -> list[str]:
    """What the query asks for that is not there."""
    known, found = specs(), []
    labels = set(ADDED)
    for name, matchers in asked(expression):
        if name in recorded:
            labels |= {"queue"}
            continue
        if name not in known and name not in OTHERS:
            found.append(f"no metric {name}")
            continue
        spec = known.get(name)
        has = set(spec.labels) if spec is not None else OTHERS[name]
        labels |= has
        for label, how, value in _MATCHED.findall(matchers):
            if label not in has | ADDED:
                found.append(f"{name} has no label {label}")
            elif spec is not None and label in has and spec.labels[label].pattern is None:
                values = value.split("|") if how in ("=~", "!~") else [value]
                found += [f"{name}: {label} is never {one}" for one in values if one not in spec.labels[label].known]
    for group in _GROUPED.findall(expression):
        names = {name.strip() for name in group.split(",") if name.strip()}
        found += [f"nothing has the label {name}" for name in names - labels]
    return found


def queries() -> dict[str, str]:
    """Every query of rules and dashboards, by where it stands."""
    found = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules()}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}, {panel['title']}, {target['refId']}"] = target["expr"]
    return found


def test_every_query_asks_for_metrics_labels_and_values_that_there_are() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    wrong = {where: found for where, query in queries().items() if (found := wrong_with(query, recorded))}
    assert wrong == {}
    assert len(queries()) > 90


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(recado_web_seconds_count)", "no metric recado_web_seconds_count"),
        ("rate(recado_webhook_seconds[5m])", "no metric recado_webhook_seconds"),
        ('recado_held{cause="look"}', "recado_held has no label cause"),
        ('recado_held{reason=~"look|lost"}', "recado_held: reason is never lost"),
        ("sum by (owner) (recado_held)", "nothing has the label owner"),
        ('sum(rate(recado_tries_total{operation="send"}[1m])) / sum(recado_tries)', "no metric recado_tries"),
    ],
)
def test_a_query_for_what_is_not_there_is_found(query: str, said: str) -> None:
    assert said in wrong_with(query, set())


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    used = {name for query in queries().values() for name, _ in asked(query)}
    unseen = {spec.name for name, spec in specs().items() if name in used}
    assert {one.spec.name for one in metrics.ALL} - unseen == set()


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    listed = (RUNBOOKS / "README.md").read_text()
    pages = set()
    for name, alert in alerts().items():
        url = alert["annotations"]["runbook_url"]
        assert url.startswith("{{ $externalLabels.runbooks }}/"), name
        page = RUNBOOKS / url.rpartition("/")[2]
        text = page.read_text()
        severity = alert["labels"]["severity"]
        after = "" if alert["for"] == "0m" else f", after {alert['for']}"
        assert text.startswith(f"# {alert['annotations']['summary']}\n\n`{name}`, {severity}{after}.\n"), name
        assert f"```promql\n{alert['expr']}\n```" in text, name
        assert "\n## Where to look\n" in text, name
        assert "\n## What to do\n" in text, name
        assert f"| [`{name}`]({page.name}) | {severity} | {alert['annotations']['summary']} |" in listed
        pages.add(page.name)
    assert {path.name for path in RUNBOOKS.glob("*.md")} == pages | {"README.md"}


def test_every_alert_is_tried_where_it_has_to_fire_and_where_it_must_not() -> None:
    tests = yaml.safe_load(TESTED.read_text())["tests"]
    fires, silent = set(), set()
    for one in tests:
        for tried in one["alert_rule_test"]:
            (fires if tried.get("exp_alerts") else silent).add(tried["alertname"])
    assert fires == silent == set(alerts())


def promtool(*arguments: str | Path, given: bytes | None = None) -> None:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have promtool: .ci/run installs it")
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([found, *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_prometheus_takes_the_configuration_and_the_rules_and_they_fire_when_they_should() -> None:
    promtool("check", "config", OBSERVED / "prometheus" / "prometheus.yml")
    promtool("test", "rules", TESTED)


def test_prometheus_reads_the_page_of_two_processes() -> None:
    for role in ("api", "worker"):
        metrics.begin(role)
    pages = {role: endpoint.page_of(role)() for role in ("api", "worker")}
    promtool("check", "metrics", given=endpoint.together(pages))
    promtool("check", "metrics", given=owned.shown({owned.USED.name: {("messages",): 3.0}}))


def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path) -> None:
    asked_for = [query.replace("$__rate_interval", "5m") for query in queries().values()]
    made = [{"record": f"a:query:{number}", "expr": query} for number, query in enumerate(asked_for)]
    path = tmp_path / "dashboards.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": made}]}))
    promtool("check", "rules", path)


def test_dashboards_are_such_that_grafana_takes_them_as_they_are() -> None:
    uids = set()
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        uids.add(board["uid"])
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids)), path.name
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["title"]
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
        for one, other in combinations((panel["gridPos"] for panel in board["panels"]), 2):
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or below, f"{path.name}: panels overlap"
    assert uids == {f"recado-{path.stem}" for path in DASHBOARDS}
    assert {path.stem for path in DASHBOARDS} == {"overview", "queues", "delivery", "assistants", "database"}


def test_every_metric_is_described_in_the_reference_as_the_code_says() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    found = re.findall(r"^\| `(recado_\w+)` \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    described = {name: (kind, says) for name, kind, says in found}
    expected = {}
    for spec in [*(one.spec for one in metrics.ALL), *owned.ALL]:
        labels = ", ".join(f"`{label}`" for label in spec.labels) or "-"
        expected[spec.name] = (f"{spec.kind}; {labels}", spec.says)
    assert described == expected
