#!/usr/bin/env -S python3 -B
"""Who failed, and with which words: for the end of tests/run, which is all that CI shows.

    tests/lib/faults.py junit FILE     of the report that nextest writes
    tests/lib/faults.py unittest FILE  of what tests/package or tests/image says

A line for each test that failed or was flaky; below it, indented, the end of what it said.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as xml

# Lines of what a test said: where it was and what was wrong; what was compared, or the journal.
FIRST, LAST = 5, 8
# A flaky one must not take the room of those that failed.
FLAKY = 2


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in READERS:
        sys.exit(__doc__)
    text = pathlib.Path(sys.argv[2]).read_text(errors="replace")
    for line in READERS[sys.argv[1]](text):
        print(line)


def of_junit(text):
    for test in xml.fromstring(text).iter("testcase"):
        failed = test.findall("failure") + test.findall("error")
        flaky = test.findall("flakyFailure") + test.findall("flakyError")
        if failed:
            yield from told(f"FAILED {test.get('name')}", before_backtrace(failed[0]))
        elif flaky:
            times = f"{len(flaky)} of {len(flaky) + 1} tries failed"
            said = before_backtrace(flaky[-1]).splitlines()[:FLAKY]
            yield from told(f"FLAKY {test.get('name')}, {times}", "\n".join(said))


def before_backtrace(failure):
    text = failure.text or failure.get("message") or failure.get("type") or ""
    return text.split("\nstack backtrace:\n")[0]


def of_unittest(text):
    # Each begins between a double rule and a single one, and ends where another rule begins.
    blocks = re.findall(r"^={70}\n(?:FAIL|ERROR): (.*)\n(?:.*\n)??-{70}\n((?:(?![=-]{70}\n).*\n)*)", text, re.M)
    for title, traceback in blocks:
        # "test_x (install.Install.test_x)", and of a module that cannot be loaded another form.
        name = re.match(r"\w+ \((?:\w+\.)?(\w+\.\w+)\)", title)
        yield from told(f"FAILED {name[1] if name else title}", without_frames(traceback))


def without_frames(traceback):
    """The line of the test and what was raised there, not the way between them."""
    frame = r"^  File .*\n(?:    .*\n)*"
    last = traceback[traceback.rfind("Traceback (most recent call last):"):].partition("\n")[2]
    first = re.match(frame, last)
    return (first[0] if first else "") + re.sub(frame, "", last, flags=re.M)


def told(line, text):
    """The line and, indented, what stands at both ends of the text."""
    yield line
    said = [part for part in text.splitlines() if part.strip()]
    if len(said) > FIRST + LAST:
        said = [*said[:FIRST], "...", *said[-LAST:]]
    yield from (f"    {part[:300]}" for part in said)


READERS = {"junit": of_junit, "unittest": of_unittest}

if __name__ == "__main__":
    main()
