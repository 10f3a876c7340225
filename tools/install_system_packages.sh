#!/usr/bin/env bash
# Installs what the tests need from Debian (or Ubuntu): Chromium, in which the report's page is opened.
# Training and the commands need nothing of it. Does nothing where it is all there.
#   tools/install_system_packages.sh
set -euo pipefail

packages=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || packages+=(chromium)

if [ ${#packages[@]} -eq 0 ]; then
  exit
fi

fail() {
  echo "install_system_packages.sh: expected ${packages[*]} or a way to install it; found $1" >&2
  exit 1
}

command -v apt-get >/dev/null ||
  fail "no apt-get. Install Chromium as your system does, so that 'chromium' is on the PATH."
[ "$(id -u)" -eq 0 ] ||
  fail "no root. Run: sudo apt-get update && sudo apt-get install --yes ${packages[*]}"

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install --yes -qq --no-install-recommends "${packages[@]}" >/dev/null ||
  fail "that apt-get could not (see above)."
