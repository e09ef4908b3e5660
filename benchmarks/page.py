"""The page about the figures, and its chart, from the JSON of one run.

    python -m benchmarks.page benchmarks.json docs/reference

writes `benchmarks.md` and `benchmarks.svg` there, the same for the same JSON. What people write about the figures is on
a page of its own, which nothing overwrites.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure

Document = Mapping[str, Any]

PAGE, CHART, STORY = "benchmarks.md", "benchmarks.svg", "where-the-time-goes.md"
#: How figures are grouped on the page: a title and what is measured, by the figures' own group.
GROUPS: Final = {
    "point query": (
        "Latency of a point query",
        "What the way through adds to the direct way: the difference of medians (or of 99th percentiles) of the same "
        "round, one client of pgbench, `SELECT abalance FROM pgbench_accounts WHERE aid = ...`. *fdatasync + relay* is "
        "one write and fdatasync on the same disk plus what the gateway adds with its journal in memory. Nobody is let "
        "in without TLS towards the gateway, so there is no figure for that; *no target TLS* has it towards the client "
        "alone.",
    ),
    "CPU": (
        "CPU",
        "Seconds of CPU of all processes between client and target for each point query, with the journal in memory.",
    ),
    "throughput": ("Throughput", "Transactions a second, as a share of PgBouncer's in the same round."),
    "tools": (
        "Graphical tools",
        "The time in which a tool connects and asks everything that it asks to open its tree, as a multiple of the "
        "direct way. psycopg asks it, in simple queries.",
    ),
    "bulk": (
        "Large answers and COPY",
        "The speed as a share of the direct way. Rows are masked while they stream; small rows have 2 columns, wide "
        "ones 20 of 40 bytes. The clients are pgbench and psql, which are written in C.",
    ),
    "idle": (
        "Idle sessions",
        "Memory is the proportional set (PSS) of all processes of the gateway, as the slope over thousands of open "
        "sessions that have asked nothing yet; what the kernel holds for sockets is not in it. Ten thousand real "
        "backends do not fit beside it, so **the target is simulated**: one process that speaks start-up, TLS, SCRAM "
        "and what a real server answers to the gateway's own questions. The gateway has two data processes. Log-ins "
        "share the machine with that target and with the clients, which do TLS too.",
    ),
    "journal": ("Journal", "Records that are durable before anything else happens; each producer waits for its own."),
    "volume": (
        "Bytes on disk",
        "After so many prepared point queries with recorded results, linearly up to a million; sessions and heartbeats "
        "are in it.",
    ),
    "decision": (
        "A decision",
        "Reading, planning of masks and policy for every statement of the leak battery, as a session's gate does it; "
        "the catalog is that of a real server. What is recorded of a decision is not in it.",
    ),
    "own code": (
        "Own code",
        "The least time of the gateway's own code for one point query, without sockets, syncs and other processes.",
    ),
}


def read(path: Path) -> Document:
    """Read what a run has found."""
    found: Document = json.loads(path.read_text())
    return found


def figures(document: Document) -> list[Figure]:
    """Give the figures, in the order of the page."""
    places = list(GROUPS)
    return sorted((Figure(**each) for each in document["figures"]), key=lambda each: places.index(each.group))


# --- the table -------------------------------------------------------------------------------------------------------


def table(listed: Sequence[Figure]) -> str:
    """Write figures for people, as a table."""
    rows = ["| figure | against | measured | aim | result |", "|---|---|--:|---|---|"]
    for each in listed:
        aim = "" if each.aim is None else f"{each.bound} {number(each.aim)} {each.unit}"
        rows.append(f"| {each.name} | {each.against} | {number(each.value)} {each.unit} | {aim} | {result(each)} |")
    return "\n".join(rows) + "\n"


def result(figure: Figure) -> str:
    """Say whether the aim is met, or by how much it is missed."""
    if figure.is_met is None:
        return "stated"
    return "met" if figure.is_met else f"**missed** by {abs(figure.value / (figure.aim or 1) - 1):.0%}"


def number(value: float) -> str:
    """Write a number with three digits that count."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 or value == round(value) else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


# --- the page --------------------------------------------------------------------------------------------------------


def page(document: Document) -> str:
    """Write the page."""
    return "\n".join(_lines(document))


def _lines(document: Document) -> Iterator[str]:
    listed = figures(document)
    aimed = [each for each in listed if each.aim is not None]
    met = sum(each.is_met is True for each in aimed)
    yield "# Benchmarks\n"
    yield "<!-- Written by `python -m benchmarks.page` from benchmarks.json; what is changed here is overwritten. -->\n"
    yield (
        f"Measured in one run of `make bench` on {document['date']}. **{met} of {len(aimed)} aims are met.** "
        f"[Where the time goes]({STORY}) says what was found in profiles, and what was tried.\n"
    )
    yield f"![Each figure beside its aim]({CHART})\n"
    if document["failed"]:
        yield "**This run is not whole.** These measures failed, and their figures are missing:\n"
        yield from (f"- {name}: {why}" for name, why in document["failed"].items())
        yield ""
    yield "## Machine and method\n"
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {value} |" for name, value in document["machine"].items())
    yield from (f"| {name} | {_said(value)} |" for name, value in document["method"].items())
    yield f"| minutes of the run | {sum(document['seconds'].values()) / 60:.0f} |\n"
    yield (
        "Clients, gateway, PgBouncer and the server share this machine, over loopback. All of Vestibule is on: policy, "
        "masks, records, recorded results; PgBouncer is in session mode. Both sides of a ratio ran next to each other, "
        "round by round in turning order; a figure is the median of the rounds, and an absolute number is only good "
        "beside the others of its run. The server writes without sync, so that what is compared is the way and not its "
        "disk.\n"
    )
    for group, members in groupby(listed, key=lambda each: each.group):
        yield from _group(group, list(members))


def _said(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _group(group: str, members: Sequence[Figure]) -> Iterator[str]:
    title, about = GROUPS[group]
    yield f"## {title}\n\n{about}\n"
    yield table(members)
    made = [each for each in members if each.parts]
    if made:
        yield "<details><summary>What these are made of</summary>\n"
        yield from (f"- {each.name}: {_parts(each)}" for each in made)
        yield "\n</details>\n"


def _parts(figure: Figure) -> str:
    return "; ".join(f"{name} {number(value)}" for name, value in figure.parts.items())


# --- the chart -------------------------------------------------------------------------------------------------------

#: The chart is as wide as a phone shows it without making letters small.
WIDTH, MARGIN, ROW, TOP = 480, 16, 46, 76
#: The scale: from a tenth of the aim to ten times the aim.
DECADES: Final = 1.0
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; stroke: #ffffff; stroke-width: 3px; paint-order: stroke }
.small { font-size: 12px; fill: #59636e }
.title { font-size: 15px; font-weight: 600 } .paper { fill: #ffffff } .axis { stroke: #818b98 } .aim { stroke: #1f2328 }
.met { fill: #1a7f37 } .missed { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117 } .small { fill: #9198a1 } .paper { fill: #0d1117 }
.axis { stroke: #656c76 } .aim { stroke: #e6edf3 }
.met { fill: #3fb950 } .missed { fill: #f0883e } }
"""


def chart(document: Document) -> str:
    """Draw every figure that has an aim as a bar from the aim to what was measured, on a logarithmic scale."""
    aimed = [each for each in figures(document) if each.aim is not None]
    height = TOP + ROW * len(aimed) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">',
        f"<title>Each figure beside its aim, {escape(str(document['date']))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="{MARGIN}" y="24">Each figure beside its aim</text>',
        f'<text class="small" x="{MARGIN}" y="43">Left of the line is better than the aim, right of it worse.</text>',
    ]
    for ratio, label in ((0.1, "10 x better"), (1.0, "the aim"), (10.0, "10 x worse")):
        at, anchor = _across(ratio), {0.1: "start", 1.0: "middle", 10.0: "end"}[ratio]
        kind = "aim" if ratio == 1.0 else "axis"
        lines.append(f'<text class="small" x="{at:.1f}" y="64" text-anchor="{anchor}">{label}</text>')
        lines.append(f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="70" y2="{height - 8}"/>')
    for place, each in enumerate(aimed):
        lines += _bar(each, TOP + ROW * place)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(figure: Figure, top: int) -> Iterator[str]:
    at, aim = _across(worse(figure)), _across(1.0)
    kind = "met" if figure.is_met else "missed"
    told = f"{number(figure.value)} {figure.unit}, {figure.bound} {number(figure.aim or 0)}: {kind}"
    yield f'<text class="small" x="{MARGIN}" y="{top + 12}">{escape(figure.name)}</text>'
    left, width = min(at, aim), max(2.0, abs(at - aim))
    yield f'<rect class="{kind}" x="{left:.1f}" y="{top + 18}" width="{width:.1f}" height="14" rx="2"/>'
    # The words stand where the bar is not.
    is_left = at > aim
    x, anchor = (aim - 8, "end") if is_left else (aim + 8, "start")
    yield f'<text x="{x:.1f}" y="{top + 30}" text-anchor="{anchor}">{escape(told)}</text>'


def worse(figure: Figure) -> float:
    """Say how many times worse than the aim a figure is; below 1 it is better."""
    if figure.aim is None or figure.value <= 0:
        return 1.0
    return figure.value / figure.aim if figure.bound == "at most" else figure.aim / figure.value


def _across(ratio: float) -> float:
    share = (max(-DECADES, min(DECADES, math.log10(ratio))) / DECADES + 1) / 2
    return MARGIN + share * (WIDTH - 2 * MARGIN)


def write(document: Document, folder: Path) -> None:
    """Write page and chart."""
    (folder / PAGE).write_text(page(document))
    (folder / CHART).write_text(chart(document))


def main() -> None:
    """Read the JSON and write the page."""
    arguments = argparse.ArgumentParser(
        prog="benchmarks.page", description="The page about the figures, and its chart."
    )
    arguments.add_argument("json", type=Path, help="what `python -m benchmarks --json` has written")
    arguments.add_argument("folder", type=Path, help="where page and chart are put")
    given = arguments.parse_args()
    write(read(given.json), given.folder)


if __name__ == "__main__":
    main()
