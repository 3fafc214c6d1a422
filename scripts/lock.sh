#!/bin/sh
# Write both locks from pyproject.toml: one file each for every supported Python and Linux machine.
# Whatever index this machine uses must not end up in them, hence the --no-emit options.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || { echo "lock: no uv found: run \`make .venv\` first" >&2; exit 2; }
compile() {
  "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" "$@"
}
compile pyproject.toml -o requirements.lock
compile pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
