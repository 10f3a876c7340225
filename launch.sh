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

# Prints the first supported Python, of the usual names and those given.
find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python} "$@"; do
    if is_supported "$name"; then
      echo "$name"
      return
    fi
  done
  fail "expected Python 3.11, 3.12 or 3.13, found $(python3 --version 2>&1 || true)." \
    "Install one, or name it: PYTHON=/path/to/python3.12 ./launch.sh"
}

# Makes .venv anew. .venv.unfinished stays until everything is installed.
make_venv() {
  local python
  python=$(find_python)
  : >.venv.unfinished
  if ! "$python" -m venv --clear .venv >.venv.log 2>&1; then
    cat .venv.log >&2
    rm -rf .venv .venv.log
    rm .venv.unfinished
    fail "expected $python to make a virtual environment, and it could not." \
      "On Debian and Ubuntu: apt install python3-venv"
  fi
  rm -f .venv.log
}

is_complete_venv() {
  [ ! -e .venv.unfinished ] && is_supported .venv/bin/python &&
    .venv/bin/python -m pip --version >/dev/null 2>&1
}

is_installed() {
  [ ! -e .venv.unfinished ] && grep -qsxF "$1" .venv/installed
}

# Locks file descriptor 9 until this script and all that it has started close it. macOS has no
# command for that, so the Python "$1" does it. A file system without locks is used without.
lock() {
  "$1" -c '
import fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
  fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
  print("launch.sh: waiting for another call, which sets up .venv", file=sys.stderr, flush=True)
  fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
  pass
'
}

# Installs what "$1" (run or test) needs, unless that has been done for these requirement files.
install() {
  local pins=requirements-cpu.txt wanted python
  if [[ "$(nvidia-smi -L 2>/dev/null || true)" == GPU* ]]; then
    pins=requirements.txt
  fi
  wanted="$pins $(cat requirements*.txt pyproject.toml setup.py | cksum)"
  if is_installed "$1 $wanted"; then
    return
  fi
  python=$(find_python .venv/bin/python)
  {
    lock "$python"
    if ! is_installed "$1 $wanted"; then
      install_into_venv "$1" "$pins" "$wanted"
    fi
  } 9>>.venv.lock
}

install_into_venv() {
  local packages=(--requirement "$2" --editable .)
  if [ "$1" = test ]; then
    packages=(--requirement "$2" --requirement requirements-test.txt --editable '.[test]')
  fi
  is_complete_venv || make_venv
  echo "Installing $2 into .venv; this happens once." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2 ||
    fail "expected to install $2, and pip could not (see above). Is a package index" \
      "within reach? Behind a proxy or with an index of your own: pip config set global.index-url"
  grep -sF " $3" .venv/installed >.venv/installed.new || true
  # The test dependencies include those of a run.
  echo "run $3" >>.venv/installed.new
  echo "$1 $3" >>.venv/installed.new
  mv .venv/installed.new .venv/installed
  rm -f .venv.unfinished
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
