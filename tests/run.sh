#!/usr/bin/env bash
# Installs what the tests need and runs all checks: lint, types, tests, the page in a headless Chromium.
#   bash tests/run.sh           everything that belongs to every change
#   bash tests/run.sh --long    the long versions as well
set -euo pipefail
cd "$(dirname "$0")/.."

also=" and not long"
for argument in "$@"; do
  case $argument in
    --long) also="" ;;
    *) echo "usage: bash tests/run.sh [--long]" >&2; exit 2 ;;
  esac
done

if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
  [ -d .venv ] || python3 -m venv .venv
  . .venv/bin/activate
fi
python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt

has_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! has_browser > /dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) > /dev/null 2>&1 || true
  fi
  # Without a browser the tests that need one say so: a failure with CI=true, elsewhere a skip with its reason.
  has_browser > /dev/null || python -m playwright install chromium || true
fi

# The page under a sub-path is tried behind Debian's nginx; without it that test says so, like those of the browser.
if ! PATH=$PATH:/usr/sbin command -v nginx > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light) > /dev/null 2>&1 || true
fi

ruff check .
ruff format --check .
mypy

# The tests of the page have processes of their own, since a browser's event loop is of no use to the others, and two of them, since
# they wait as long as they work. At once where there are cores for it. Each reads its own files alone: reading all takes seconds.
others=(python -m pytest --ignore=tests/browser -m "not browser$also" --durations=10)
browser=(python -m pytest -m "browser$also" --durations=10)
failed=0
if [ "$(python -c 'import os; print(os.cpu_count() or 1)')" -ge 2 ]; then
  logs=$(mktemp -d)
  trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$logs"' EXIT
  "${browser[@]}" tests/browser/test_[a-i]*.py > "$logs/1" 2>&1 &
  "${browser[@]}" tests/browser/test_[j-z]*.py > "$logs/2" 2>&1 &
  "${others[@]}" || failed=1
  for part in 1 2; do
    wait "%$part" || failed=1
    cat "$logs/$part"
  done
else
  "${others[@]}" || failed=1
  "${browser[@]}" tests/browser || failed=1
fi
exit "$failed"
