#!/bin/sh
# Installs what Espalier's simulation and tests need beyond a Rust toolchain, if it is missing:
# a C++ compiler, make and Verilator; with --tests also Icarus Verilog, Yosys and Tcl. Debian and its derivatives.
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
fi
[ -n "$packages" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
echo "installing:$packages"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words on purpose
$as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
