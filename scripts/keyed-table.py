#!/usr/bin/env python3
"""Prints the figures of scripts/keyed.sh.

    keyed-table.py FILE                          a table of one run
    keyed-table.py --ratios KRAPPY [PEER]        what one run is worth beside the other

A file holds a JSON array of measures, as krappyctl prints it, or one measure a line.
"""
import json
import sys


def read(path):
    text = open(path, encoding="utf-8").read()
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return {row["measure"]: row for row in rows}


def table(rows):
    width = max(map(len, rows))
    for name, row in rows.items():
        print(f"  {name:{width}}  {row['value']:>14,.2f} {row['unit']:8}{row.get('note') or ''}".rstrip())


def ratio(name, value, target=None):
    print(f"  {name:32}  {value:6.2f}" + (f"   target {target}" if target else ""))


def ratios(krappy, peer):
    of = lambda rows, name: rows[name]["value"]
    times = of(krappy, "get hit, 1 conn p99") / of(krappy, "ping, 1 conn p99")
    ratio("get hit p99 in pings", times, "at most 3")
    if peer is None:
        return
    for name, target in [("load", "0.7"), ("scan", "0.8")]:
        ratio(f"{name} to the library's", of(krappy, name) / of(peer, name), f"at least {target}")
    for name in ["get hit", "get miss"]:
        ratio(f"{name} rate to the library's", of(krappy, f"{name}, 1 conn rate") / of(peer, f"{name} rate"))


if sys.argv[1] == "--ratios":
    ratios(*[read(path) for path in sys.argv[2:]], *[None] * (4 - len(sys.argv)))
else:
    table(read(sys.argv[1]))
