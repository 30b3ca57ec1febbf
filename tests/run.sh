#!/usr/bin/env bash
# Installs what the tests need and runs all checks: lint, types, tests, the page in a headless Chromium.
#   bash tests/run.sh           everything that belongs to every change
#   bash tests/run.sh --long    the long versions as well
set -euo pipefail
cd "$(dirname "$0")/.."

select=(-m "not long")
for argument in "$@"; do
  case $argument in
    --long) select=() ;;
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
python -m pytest "${select[@]}" --durations=10
