#!/usr/bin/env bash
# Sets up .venv once, then trains, tests or lints:
#   ./launch.sh                             trains ResNet-18 on the embedded digits
#   ./launch.sh --config=FILE[:DATA] ...    passes the flags to python -m resnet_jax.main
#   ./launch.sh test [pytest arguments]     runs the tests
#   ./launch.sh lint                        checks style, format and types
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
  echo "launch.sh: $*" >&2
  exit 1
}

is_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if is_supported "$name"; then
      echo "$name"
      return
    fi
  done
  fail "expected Python 3.11, 3.12 or 3.13, found $(python3 --version 2>&1 || true)." \
    "Install one, or name it: PYTHON=/path/to/python3.12 ./launch.sh"
}

make_venv() {
  local python
  python=$(find_python)
  if ! "$python" -m venv --clear .venv >.venv.log 2>&1; then
    cat .venv.log >&2
    rm -rf .venv .venv.log
    fail "expected $python to make a virtual environment, and it could not." \
      "On Debian and Ubuntu: apt install python3-venv"
  fi
  rm -f .venv.log
}

# Installs what "$1" (run or test) needs, unless that has been done for these requirement files.
install() {
  local requirements=requirements-cpu.txt target=. wanted
  if [[ "$(nvidia-smi -L 2>/dev/null || true)" == GPU* ]]; then
    requirements=requirements.txt
  fi
  if [ "$1" = test ]; then
    target='.[test]'
  fi
  wanted="$requirements $(cat requirements.txt requirements-cpu.txt pyproject.toml | cksum)"
  if grep -qsxF "$1 $wanted" .venv/installed; then
    return
  fi
  is_supported .venv/bin/python || make_venv
  echo "Installing $requirements into .venv; this happens once." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --requirement "$requirements" --editable "$target" >&2 ||
    fail "expected to install $requirements, and pip could not (see above). Is a package index" \
      "within reach? Behind a proxy or with an index of your own: pip config set global.index-url"
  grep -sF " $wanted" .venv/installed >.venv/installed.new || true
  # The test dependencies include those of a run.
  echo "run $wanted" >>.venv/installed.new
  echo "$1 $wanted" >>.venv/installed.new
  mv .venv/installed.new .venv/installed
}

case "${1---config=configs/resnet18.py:digits}" in
  test)
    install test
    exec .venv/bin/python -m pytest "${@:2}"
    ;;
  lint)
    install test
    .venv/bin/ruff check
    .venv/bin/ruff format --check
    exec .venv/bin/mypy
    ;;
  -*)
    install run
    exec .venv/bin/python -m resnet_jax.main "${@---config=configs/resnet18.py:digits}"
    ;;
  *)
    echo "launch.sh: expected test, lint or flags such as --config=configs/resnet18.py:digits," \
      "found: $1" >&2
    exit 2
    ;;
esac
