#!/usr/bin/env python3
"""Draws what `cargo bench --bench peers` measured, as SVG.

    packaging/peers_plots.py [--data DIRECTORY] [--out DIRECTORY]

Reads samples.csv, latency.csv and growth.csv below the target directory, and writes the pictures
beside them, or where --out says. A picture without numbers is left out, and a line says so.
"""

import argparse
import csv
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

TOP = Path(__file__).resolve().parent.parent

# An arm has one name and one colour in all pictures; ours are drawn last, and bold.
ARMS = {
    "file": ("plain file, append and fdatasync", "#7f7f7f"),
    "redb-append": ("redb, only appended", "#b09a7a"),
    "redb-tables": ("redb by hand", "#8c564b"),
    "sqlite": ("SQLite (WAL, FULL)", "#d98200"),
    "sqlite-tuned": ("SQLite (WAL, FULL), tuned", "#a86a00"),
    "axum": ("bare axum, keeps nothing", "#7f7f7f"),
    "redis": ("Redis (appendfsync always)", "#c8322b"),
    "redis-hset": ("Redis, the record alone", "#e79a97"),
    "postgres": ("PostgreSQL (pool of 10)", "#2f6690"),
    "jobslate-store": ("jobslate, the store alone", "#7fc29b"),
    "jobslate": ("jobslate", "#12723a"),
}
OURS = "jobslate"

STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "font.family": "sans-serif",
    "font.size": 10,
    "legend.frameon": False,
    # The same numbers give the same bytes.
    "svg.hashsalt": "jobslate",
    "svg.fonttype": "path",
}


def rows(path):
    """The rows of a CSV file; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def known_arms(arms):
    """The arms that have a name, in the order of drawing."""
    return [arm for arm in ARMS if arm in arms]


def line_of(arm):
    """How the line of an arm looks."""
    label, color = ARMS[arm]
    width = 2.6 if arm == OURS else 1.5
    return {"label": label, "color": color, "linewidth": width}


def thousands(value, _position):
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def save(figure, out, name):
    path = out / name
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    print(path)


def draw_sizes(data, out):
    """Throughput by batch size: both axes logarithmic, the whiskers from the least to the most."""
    rates = defaultdict(lambda: defaultdict(list))
    for row in rows(data / "samples.csv"):
        if row["plan"].startswith("size-"):
            size = int(row["plan"].removeprefix("size-"))
            rates[row["arm"]][size].append(float(row["rate"]))
    if not rates:
        return False
    figure, axes = plt.subplots(figsize=(8, 5))
    for arm in known_arms(rates):
        sizes = sorted(rates[arm])
        medians = [statistics.median(rates[arm][size]) for size in sizes]
        below = [median - min(rates[arm][size]) for size, median in zip(sizes, medians)]
        above = [max(rates[arm][size]) - median for size, median in zip(sizes, medians)]
        axes.errorbar(sizes, medians, yerr=[below, above], marker="o", markersize=4, capsize=2,
                      **line_of(arm))
    axes.set(xscale="log", yscale="log", xlabel="updates in a batch (one sync each)",
             ylabel="durable updates per second",
             title="Throughput by batch size, in-process")
    axes.set_xticks(sizes)
    axes.xaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(thousands))
    axes.legend(loc="upper left")
    save(figure, out, "throughput.svg")
    return True


def draw_latency(data, out):
    """How long calls wait: the share of calls that are done, by time."""
    plans = {
        "put-64": "Single durable PUT, 64 connections",
        "inproc-50": "In-process, batches of 50",
    }
    waits = defaultdict(lambda: defaultdict(list))
    for row in rows(data / "latency.csv"):
        point = (float(row["wait_ms"]), float(row["quantile"]))
        waits[row["plan"]][row["arm"]].append(point)
    drawn = [plan for plan in plans if plan in waits]
    if not drawn:
        return False
    figure, panels = plt.subplots(1, len(drawn), figsize=(6.5 * len(drawn), 5.5), squeeze=False,
                                  layout="constrained")
    lines = {}
    for axes, plan in zip(panels[0], drawn):
        for arm in known_arms(waits[plan]):
            points = [(wait, 1 / (1 - share)) for wait, share in waits[plan][arm] if share < 1]
            lines[arm], = axes.plot(*zip(*points), **line_of(arm))
        # As a share of those that wait longer, so that the tail has room.
        axes.set(xscale="log", yscale="log", xlabel="wait of a call, ms",
                 ylabel="share of the calls that are answered by then", title=plans[plan])
        axes.set_yticks([1, 2, 10, 100, 1_000, 10_000],
                        ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    # The arms fill the panels from side to side.
    figure.legend(handles=[lines[arm] for arm in known_arms(lines)], loc="outside lower center",
                  ncols=2 * len(drawn))
    save(figure, out, "latency.svg")
    return True


def draw_growth(data, out):
    """The rate as the store fills: one line a round."""
    rounds = defaultdict(list)
    for row in rows(data / "growth.csv"):
        rounds[row["round"]].append((int(row["updates"]) / 4, float(row["rate"])))
    if not rounds:
        return False
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for number, (_round, points) in enumerate(sorted(rounds.items())):
        label = f"jobslate, {len(rounds)} rounds" if number == 0 else None
        jobs, rates = zip(*points)
        axes.plot([count / 1e6 for count in jobs], rates, color=ARMS[OURS][1], label=label,
                  linewidth=1.6, alpha=0.75, marker=".")
    axes.set(xlabel="millions of jobs in the store (4 updates each, UUID ids)",
             ylabel="durable updates per second", title="Growth, in-process, batches of 1,000")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.legend(loc="lower left")
    save(figure, out, "growth.svg")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    target = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    parser.add_argument("--data", type=Path, default=target / "peers",
                        help="where the benchmark left its numbers (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where the pictures go (default: beside them)")
    arguments = parser.parse_args()
    data = arguments.data
    out = arguments.out or data
    out.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update(STYLE)
    drawings = {"throughput": draw_sizes, "latency": draw_latency, "growth": draw_growth}
    for name, draw in drawings.items():
        if not draw(data, out):
            print(f"{name}: nothing was measured in {data}", file=sys.stderr)


if __name__ == "__main__":
    main()
