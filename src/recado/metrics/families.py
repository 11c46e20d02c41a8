"""What a metric is here: a name, what it means, and labels whose values are closed sets.

Nothing else can come into a label: a value that is not on its list becomes `other`. So no owner, contact or word of
theirs is ever on a metrics page, and the number of series has an end. Children are bound once and kept: counting costs
a look into a dict and an addition.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Generic, Literal, TypeVar

import prometheus_client
from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

#: When a series began is in nobody's dashboard, and would be a line for each.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

Role = Literal["api", "worker"]
BOTH: Final[tuple[Role, ...]] = ("api", "worker")
Labels = tuple[str, ...]
M = TypeVar("M", Counter, Histogram)
#: The series that there are from the start, of every role or by role; None: all that are known.
Bound = Sequence[Labels] | Mapping[Role, Sequence[Labels]] | None

OTHER: Final = "other"
#: The media type of a page.
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a label may be: one of `known`, or `other`.

    With `pattern` any value that matches it as a whole may come, the first `most` of them; `known` come beside those.
    """

    known: Sequence[str] = ()
    pattern: re.Pattern[str] | None = None
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is said of a metric: its name on the page, its type, what it says, its labels, and whose pages have it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: Mapping[str, Values] = field(default_factory=dict)
    at: tuple[Role, ...] = BOTH


class _Bounded:
    """Which values a metric's labels have had, so that there is an end to them."""

    def __init__(self, labels: Mapping[str, Values]) -> None:
        self._labels = list(labels.values())
        self._seen: list[set[str]] = [set() for _ in self._labels]

    def __call__(self, given: Labels) -> Labels:
        return tuple(self._one(index, str(value)) for index, value in enumerate(given))

    def _one(self, index: int, value: str) -> str:
        allowed, seen = self._labels[index], self._seen[index]
        if value in allowed.known or value in seen:
            return value
        if allowed.pattern is None or len(seen) >= allowed.most or not allowed.pattern.fullmatch(value):
            return OTHER
        seen.add(value)
        return value


class Family(Generic[M]):
    """A counter or histogram; `family("a", "b")` is the child of these label values."""

    def __init__(self, spec: Spec, make: Callable[[], M], *, bound: Bound) -> None:
        self.spec = spec
        self._whole: M = make()
        self._bounded = _Bounded(spec.labels)
        self._children: dict[Labels, M] = {}
        self._lock = threading.Lock()
        known = product(*(values.known for values in spec.labels.values()))
        if not isinstance(bound, Mapping):
            there = list(known if bound is None else bound)
            bound = dict.fromkeys(spec.at, there)
        self._at_start = bound

    def __call__(self, *given: str) -> M:
        """The child of these values, which are in the order of the labels."""
        child = self._children.get(given)
        return child if child is not None else self._bind(given)

    def _bind(self, given: Labels) -> M:
        if len(given) != len(self.spec.labels):
            raise TypeError(f"{self.spec.name} has the labels {', '.join(self.spec.labels) or '(none)'}")
        with self._lock:
            values = self._bounded(given)
            child = self._whole.labels(*values) if values else self._whole
            # Only what has a name of its own: `other` stands for anything.
            if values == given:
                self._children[given] = child
            return child

    def begin(self, role: Role) -> None:
        """Have such a process's series from its start: what never happened is 0, and not missing."""
        for given in self._at_start.get(role, ()):
            self(*given)

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client writes down."""
        return self._whole.collect()


class Level:
    """Values that are read, not counted: by `read` when the page is asked for, or set from time to time.

    What was set is forgotten after `keep_s`, and by `forget`: a value that nobody renews is no value.
    """

    def __init__(self, spec: Spec, *, keep_s: float | None = None) -> None:
        self.spec = spec
        self.read: Callable[[], Mapping[Labels, float]] | None = None
        self._keep_s = keep_s
        self._bounded = _Bounded(spec.labels)
        self._values: Mapping[Labels, float] = {}
        self._until = float("inf")

    def set(self, values: Mapping[Labels, float]) -> None:
        """These values instead of those before."""
        self._values = dict(values)
        self._until = float("inf") if self._keep_s is None else time.monotonic() + self._keep_s

    def value(self, *given: str) -> float | None:
        """The value that was set for these labels, if it is one still."""
        return self._values.get(given) if time.monotonic() < self._until else None

    def forget(self) -> None:
        """No value until the next is set."""
        self._values = {}

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client writes down; values that fell together are added up."""
        given = self.read() if self.read is not None else self._values if time.monotonic() < self._until else {}
        found: dict[Labels, float] = {}
        for labels, value in given.items():
            bounded = self._bounded(labels)
            found[bounded] = found.get(bounded, 0.0) + value
        family = CounterMetricFamily if self.spec.kind == "counter" else GaugeMetricFamily
        metric = family(self.spec.name, self.spec.says, labels=list(self.spec.labels))
        for labels, value in found.items():
            metric.add_metric(labels, value)
        return [metric]


def counter(
    name: str,
    says: str,
    *,
    at: tuple[Role, ...] = BOTH,
    bound: Bound = None,
    **labels: Values,
) -> Family[Counter]:
    """What only grows; `bound` are the series that there are from the start, if not all that are known."""
    spec = Spec(name=name, kind="counter", says=says, labels=labels, at=at)
    return Family(spec, lambda: Counter(name, says, list(labels), registry=None), bound=bound)


def histogram(
    name: str,
    says: str,
    *,
    at: tuple[Role, ...] = BOTH,
    buckets: Sequence[float],
    bound: Bound = None,
    **labels: Values,
) -> Family[Histogram]:
    """How long, in seconds; each child is a line a bucket and three more, so the buckets are few."""
    spec = Spec(name=name, kind="histogram", says=says, labels=labels, at=at)
    return Family(spec, lambda: Histogram(name, says, list(labels), registry=None, buckets=buckets), bound=bound)


def level(
    name: str,
    says: str,
    *,
    at: tuple[Role, ...] = BOTH,
    keep_s: float | None = None,
    grows: bool = False,
    **labels: Values,
) -> Level:
    """What is so at present; with `grows` it is a counter that is kept elsewhere."""
    kind: Literal["counter", "gauge"] = "counter" if grows else "gauge"
    return Level(Spec(name=name, kind=kind, says=says, labels=labels, at=at), keep_s=keep_s)


def one_of(*known: str) -> Values:
    """One of these, or `other`."""
    return Values(known=known)


def page(families: Iterable[Any], more: Iterable[Any] = ()) -> bytes:
    """The families in Prometheus's text format; `more` are prometheus_client's own collectors."""

    class Together:
        def collect(self) -> Iterable[Metric]:
            for part in (*families, *more):
                yield from part.collect()

    return prometheus_client.generate_latest(Together())
