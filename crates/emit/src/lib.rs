//! From a program to files: hardware, memory images, and what the simulation needs.
//!
//! [`design_files`] returns everything for one program as [`DesignFiles`], an ordered list of paths and
//! texts; writing them is up to the caller. The hardware is plain SystemVerilog that this crate embeds;
//! only the package of constants and the wrapper's port widths are generated ([`rtl`]). The Vitis HLS kernel
//! ([`hls`]) is plain C++ likewise, with one generated header. The same input gives the same bytes.
//!
//! The simulation is driven by data, too: [`verilator_arguments`] builds it, [`BenchRun`] names its
//! arguments, [`parse_report`] and [`parse_trace`] read its results; [`hls_arguments`], [`HlsRun`] and
//! [`parse_hls_report`] do so for the kernel under g++.
//!
//! ```
//! use espalier_target::AcceleratorConfig;
//! let config = AcceleratorConfig::new(8, 8, 4096, 256);
//! let design = espalier_emit::rtl(&config, "example", 0x1234);
//! assert!(design.get("rtl/espalier_pkg.sv").unwrap().contains("localparam int ROWS = 8;"));
//! ```

mod activity;
mod bench;
mod component;
mod core_flow;
mod design;
mod driver;
mod files;
mod flows;
mod hls;
mod netlist;
mod open_flow;
mod rtl;
mod serial;

pub use activity::{BlockActivity, activity_arguments, parse_activity};
pub use bench::{
    BenchReport, BenchRun, SIMULATION_BINARY, bench_files, parse_report, parse_trace, verilator_arguments,
};
pub use core_flow::{core_flow, count_cells, parse_area, parse_cells};
pub use design::design_files;
pub use driver::driver_files;
pub use files::DesignFiles;
pub use flows::vendor_flow_files;
pub use hls::{HlsReport, HlsRun, hls, hls_arguments, parse_hls_report, write_trace};
pub use netlist::{SERIAL_BINARY, serial_bench_files, serial_verilator_arguments};
pub use open_flow::{OpenFlow, Placer, open_flow, open_flow_files};
pub use rtl::rtl;
pub use serial::{SerialExchange, serial_identify, serial_infer, serial_load, serial_results, serial_script};
