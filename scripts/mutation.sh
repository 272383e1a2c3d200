#!/usr/bin/env bash
# Mutation testing of the files that must not be wrong (pyproject.toml, [tool.mutmut]), each against quick tests: minutes. Every mutant that
# survives is printed with what it changed; docs/reliability.md explains those that are known. Arguments are names of mutants to try again.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

"$PYTHON" -c 'import mutmut, pytest, hypothesis' 2>/dev/null || "$PYTHON" -m pip --disable-pip-version-check install -q mutmut pytest hypothesis
[ $# -gt 0 ] || rm -rf mutants # a copy of the code with every mutant in it
OMP_NUM_THREADS=1 "$PYTHON" -m mutmut run --max-children "${TEST_WORKERS:-2}" "$@" | tr '\r' '\n' | tail -n 2
"$PYTHON" -m mutmut results | while read -r mutant status; do
    echo "$mutant $status"
    "$PYTHON" -m mutmut show "${mutant%:}" | grep '^[-+] ' || true
done
