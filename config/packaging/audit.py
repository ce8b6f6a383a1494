#!/usr/bin/env python3
"""Look the locked versions up in an advisory database, if one can be reached.

    config/packaging/audit.py PIP_AUDIT LOCK...

Exit code 1 for a known vulnerability, 0 otherwise. pip-audit reports a package that its database
does not show as free of vulnerabilities; this script counts it as not audited.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main(pip_audit: str, *locks: str) -> int:
    command = [pip_audit, "--disable-pip", "--require-hashes", "--format", "json"]
    for lock in locks:
        command += ["--requirement", lock]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"not audited: the advisory database cannot be reached ({why})")
        return 0
    skipped = [each["name"] for each in found if "skip_reason" in each]
    known = [(each, flaw) for each in found for flaw in each.get("vulns", [])]
    for each, flaw in known:
        fixed = ", ".join(flaw["fix_versions"]) or "no version"
        print(f"{each['name']} {each['version']}: {flaw['id']}, fixed in {fixed}")
    print(f"audited {len(found) - len(skipped)} packages: {len(known)} known vulnerabilities")
    if skipped:
        print(
            f"not audited: {len(skipped)} packages, since the advisory database cannot be reached "
            f"or does not know them: {', '.join(skipped)}"
        )
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
