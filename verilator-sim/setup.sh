#!/bin/sh
# Installs what Espalier's simulation and tests need beyond a Rust toolchain, if it is missing:
# a C++ compiler, make and Verilator; with --tests also Icarus Verilog, Yosys, Tcl, Chromium, Python packages in
# verilator-sim/.venv (cocotb with the bus models of cocotbext-axi, what the tests of the Python package need, mdBook), and
# Node packages in tests/browser. Debian and its derivatives.
set -eu

packages=""
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need g++ g++
need make make
need verilator verilator
if [ "${1:-}" = "--tests" ]; then
    need iverilog iverilog
    need yosys yosys
    need tclsh tcl
    need python3 python3
    need chromium chromium
    need node nodejs
    need npm npm
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
fi

install_packages() {
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        as_root="sudo"
    fi
    echo "installing:$packages"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    # shellcheck disable=SC2086  # a list of words on purpose
    $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
}
[ -z "$packages" ] || install_packages

if [ "${1:-}" = "--tests" ]; then
    here=$(dirname "$0")
    wanted="-r $here/cocotb/requirements.txt -r $here/../crates/cli/python/tests/requirements.txt"
    [ -x "$here/.venv/bin/python" ] || python3 -m venv "$here/.venv"
    # Says nothing and asks nobody if all of them are there.
    # shellcheck disable=SC2086  # a list of words on purpose
    "$here/.venv/bin/pip" install -q --disable-pip-version-check $wanted
    browser=$here/../tests/browser
    [ -d "$browser/node_modules/axe-core" ] || npm install --prefix "$browser" --silent --no-package-lock
fi
