#!/usr/bin/env python3
"""Breaks comment lines that are longer than 120 characters, which rustfmt leaves alone on the stable toolchain.

    scripts/wrap-comments.py [--check]

Only the words that do not fit move on to the next line; if that line is ordinary text of the same comment they go in
front of it. With --check nothing is written, and the exit status says whether something would be.
"""
import pathlib
import re
import sys

WIDTH = 120
COMMENT = re.compile(r"^(\s*//[/!]? )(\S.*)$")
# Lists, headings, tables and fences keep their beginnings; drawings between fences are never touched.
SPECIAL = re.compile(r"^([-*+|#>]|\d+[.)] |```)")


def wrap(lines):
    out, fenced, i = [], False, 0
    lines = list(lines)
    while i < len(lines):
        line = lines[i]
        match = COMMENT.match(line)
        if match and match[2].startswith("```"):
            fenced = not fenced
        if match and not fenced and len(line) > WIDTH and " " in match[2] and not match[2].startswith("|"):
            at = line.rfind(" ", len(match[1]), WIDTH + 1)
            if at > 0:
                head, rest = line[:at].rstrip(), line[at + 1:]
                following = COMMENT.match(lines[i + 1]) if i + 1 < len(lines) else None
                if following and following[1] == match[1] and not SPECIAL.match(following[2]):
                    lines[i + 1] = f"{match[1]}{rest} {following[2]}"
                else:
                    indent = "  " if re.match(r"^([-*+]) ", match[2]) else ""
                    lines.insert(i + 1, f"{match[1]}{indent}{rest}")
                line = head
        out.append(line)
        i += 1
    return out


def main():
    check = "--check" in sys.argv[1:]
    root = pathlib.Path(__file__).resolve().parent.parent
    folders = ["src", "crates", "tests", "fuzz/src", "fuzz/fuzz_targets", "fuzz/seed.rs"]
    changed = []
    for folder in folders:
        path = root / folder
        for file in sorted(path.rglob("*.rs")) if path.is_dir() else [path]:
            text = file.read_text()
            wrapped = "\n".join(wrap(text.split("\n")))
            if wrapped != text:
                changed.append(file.relative_to(root))
                if not check:
                    file.write_text(wrapped)
    for file in changed:
        print(f"{file}: {'has' if check else 'had'} comment lines of more than {WIDTH} characters")
    sys.exit(1 if check and changed else 0)


main()
