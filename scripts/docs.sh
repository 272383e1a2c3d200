#!/usr/bin/env bash
# Builds the documentation into site/. It fails on a broken link, anchor or docstring reference.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
export NO_MKDOCS_2_WARNING=1

"$PYTHON" -c 'import material, mkdocs, mkdocstrings_handlers.python' 2>/dev/null \
    || "$PYTHON" -m pip --disable-pip-version-check install -q mkdocs mkdocs-material 'mkdocstrings[python]'
exec "$PYTHON" -m mkdocs build --strict --quiet "$@"
