# SPDX-License-Identifier: MIT OR Apache-2.0
#
# C simulation, synthesis, co-simulation and IP export of the kernel in Vitis HLS:
#
#   vitis-run --mode hls --tcl run_hls.tcl        (Vitis 2024.1 and later)
#   vitis_hls -f run_hls.tcl                      (before)
#
# Variables of the environment: ESPALIER_PART (device), ESPALIER_PERIOD_NS (clock period), ESPALIER_STEPS (any of csim,
# synth, cosim, export). A difference found by the test bench ends the script with an error.

proc setting {name default} {
    global env
    if {[info exists env($name)]} { return $env($name) }
    return $default
}

set here [file normalize [file dirname [info script]]]
set memory [file join $here .. memory]
set part [setting ESPALIER_PART xc7z020clg400-1]
set period [setting ESPALIER_PERIOD_NS 10]
set steps [setting ESPALIER_STEPS {csim synth cosim export}]

# Beats of one image, and bytes for spilled tensors: the file holds "beats_in beats_out rows spill_bytes".
set file [open [file join $here vectors size.txt] r]
lassign [gets $file] beats_in beats_out rows spill_bytes
close $file

set arguments [list --program [file join $memory program.hex] --weights [file join $memory weights.hex] \
    --images 1 --beats-in $beats_in --beats-out $beats_out --spill-bytes $spill_bytes --inputs [file join $here vectors inputs.bin] \
    --expected-outputs [file join $here vectors outputs.bin] --layers [file join $here layers.txt]]
# Lane writes are seen in C only: hardware has no port for them.
set with_writes [concat $arguments [list --expected [file join $here vectors writes.bin]]]

open_project -reset espalier_hls
set_top espalier_hls
add_files [file join $here espalier_hls.cpp] -cflags "-std=c++14 -I$here" -csimflags "-DESPALIER_TRACE"
add_files -tb [file join $here espalier_hls_tb.cpp] -cflags "-std=c++14 -I$here" -csimflags "-DESPALIER_TRACE"
open_solution -reset solution -flow_target vivado
set_part $part
create_clock -period $period -name default

if {"csim" in $steps} { csim_design -clean -argv $with_writes }
if {"synth" in $steps || "cosim" in $steps || "export" in $steps} { csynth_design }
if {"cosim" in $steps} { cosim_design -argv $arguments }
if {"export" in $steps} { export_design -format ip_catalog -display_name "Espalier HLS kernel" }
exit
