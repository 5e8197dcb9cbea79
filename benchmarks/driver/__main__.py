#!/usr/bin/python3 -B
"""Measures Causeway beside kernel TCP: every figure in one run, the two in turn, medians and spread (see docs/benchmarks.md)."""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import document
import figures
import plots
import table
import tcpip
from run import CAUSEWAY, KERNEL, MODES, Failure, NotRun, Runner

DEMO = (figures.sockperf, figures.redis_get)
EVERYTHING = (*figures.FIGURES, *tcpip.FIGURES, *figures.CURVES, *tcpip.CURVES)
NOT_QUICK = (*figures.NOT_QUICK, *tcpip.NOT_QUICK)
NAMED = {name: function for module in (figures, tcpip) for name, function in vars(module).items() if function in EVERYTHING}


def arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--build", default="build", help="where make has put the programs (build)")
    parser.add_argument("--results", metavar="DIRECTORY", help="where to keep the figures (bench in the build directory)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: under two minutes")
    parser.add_argument("--demo", action="store_true", help="sockperf and redis-benchmark alone")
    parser.add_argument("--kernel-only", action="store_true", help="kernel TCP alone")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these figures alone; tcpip: those of the TCP/IP core")
    parser.add_argument("--rounds", type=int, help="so many of each (5; quick 2)")
    parser.add_argument("--document", metavar="PAGE",
                        help="write the figures of the last run into this page, and measure nothing; those of the TCP/IP core are tcpip.md's alone")
    return parser.parse_args()


def commit():
    shown = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def one(runner, scale, function, results):
    """One figure or curve, into the results; what can't be run or fails is told and noted, and the rest goes on."""
    name = next(key for key, value in NAMED.items() if value is function)
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    try:
        runner.take_reports()
        found = function(runner, scale)
        if isinstance(found, figures.Figure):
            found.report = runner.take_reports()
            results["figures"].append(dataclasses.asdict(found))
            print(f"  {table.text([table.row(results['figures'][-1])])}  [{time.monotonic() - began:.0f} s]", flush=True)
        else:
            results["curves"].append(dataclasses.asdict(found))
    except (NotRun, Failure) as reason:
        results["not run"][name] = str(reason)
        print(f"  not run: {reason}", flush=True)
        runner.reports.clear()


def measure(options, scale, functions):
    results = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "rounds": scale.rounds, "machine": figures.machine(), "figures": [],
               "curves": [], "limits": {}, "not run": {}}
    if results["machine"]["load at the start"] > 0.5:
        print("Other programs use this machine (load {load at the start:.1f}): the figures will be worse than they need be.".format(**results["machine"]))
    modes = (KERNEL,) if options.kernel_only else MODES
    with tempfile.TemporaryDirectory(prefix="causeway-bench-") as scratch, Runner(options.build, scratch, modes) as runner:
        for function in functions:
            one(runner, scale, function, results)
        if not options.demo and not options.only:
            results["limits"] = figures.limits(runner, dataclasses.replace(scale, rounds=min(3, scale.rounds)))
    return results


def chosen(options):
    if options.demo:
        return DEMO
    if not options.only:
        return [function for function in EVERYTHING if not options.quick or function not in NOT_QUICK]
    if options.only == "tcpip":
        return [*tcpip.FIGURES, *tcpip.CURVES]
    wanted = options.only.split(",")
    unknown = [name for name in wanted if name not in NAMED]
    if unknown:
        raise SystemExit(f"no such figure: {', '.join(unknown)}. There are: {', '.join(NAMED)}")
    return [NAMED[name] for name in wanted]


def main():
    options = arguments()
    directory = options.results or f"{options.build}/bench"
    path = f"{directory}/results.json"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.document:
        with open(path, encoding="utf-8") as file:
            document.write(json.load(file), options.document)
        return 0
    scale = figures.BRIEF if options.demo else figures.QUICK if options.quick else figures.FULL
    scale = dataclasses.replace(scale, rounds=options.rounds or scale.rounds)
    results = measure(options, scale, chosen(options))
    if options.demo:
        print("\n" + table.text([table.HEAD[:5], *(table.row(figure)[:5] for figure in results["figures"])]))
        return 1 if results["not run"] else 0
    os.makedirs(directory, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent="\t")
    with open(f"{directory}/table.txt", "w", encoding="utf-8") as file:
        file.write(table.terminal(results) + "\n")
    plots.draw(results, directory)
    print("\n" + table.terminal(results))
    print(f"\nKept in {directory}: results.json, table.txt and plots.")
    return 1 if results["not run"] else 0


if __name__ == "__main__":
    sys.exit(main())
