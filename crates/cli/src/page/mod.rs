//! `report.html`: one self-contained page about a design, drawn from `report.json`, `details.json` and
//! `prune-log.jsonl` beside it and from nothing else.
//!
//! Rust computes places and texts, the templates in `templates/report/` draw. Every figure carries the JSON pointer that
//! it was read from (`data-path`), so that a test can hold the page to the report. Templates escape all strings.

mod compare;
mod graph;
mod layers;
mod provenance;
mod scale;
mod schedule;
mod summary;
mod value;

use std::path::Path;

use askama::Template;
use espalier_ir::{Diagnostic, Diagnostics};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::details::Details;
use crate::files::read_bounded;
use crate::output::write_file;
use crate::report::{Report, SCHEMA};

pub use compare::compare;
use value::Source;

/// The page of a design.
pub const FILE: &str = "report.html";
/// What its pictures are drawn from.
pub const DETAILS_FILE: &str = "details.json";
/// Most bytes of any file that a page is drawn from.
const MAX_BYTES: u64 = 256 << 20;

/// What a page is drawn from.
pub struct Run {
    /// Name of the folder, for comparisons.
    pub name: String,
    /// `report.json` as it is.
    pub source: Source,
    /// The same, typed.
    pub report: Report,
    /// `details.json`, if it is there.
    pub details: Option<Details>,
    /// `prune-log.jsonl`, one value a line.
    pub log: Vec<Value>,
}

impl Run {
    /// Reads the files of a design.
    ///
    /// # Errors
    /// If there is no report, or a file is none of this schema.
    pub fn load(folder: &Path) -> Result<Run, Diagnostics> {
        let path = folder.join("report.json");
        let json: Value = parse(&read_bounded(&path, MAX_BYTES)?, &path)?;
        if json.get("schema").is_none_or(|schema| schema != SCHEMA) {
            return Err(unreadable(&path, &format!("is not a report of schema {SCHEMA}")).into());
        }
        let report = serde_json::from_value(json.clone()).map_err(|error| unreadable(&path, &error.to_string()))?;
        let path = folder.join(DETAILS_FILE);
        let details = path.is_file().then(|| parse(&read_bounded(&path, MAX_BYTES)?, &path)).transpose()?;
        let path = folder.join("prune-log.jsonl");
        let log = match path.is_file() {
            false => Vec::new(),
            true => {
                let bytes = read_bounded(&path, MAX_BYTES)?;
                let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                lines.map(|line| parse(line, &path)).collect::<Result<_, _>>()?
            }
        };
        let name = folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        Ok(Run { name, source: Source(json), report, details, log })
    }

    /// The page.
    pub fn html(&self) -> String {
        let Run { report, details, source, log, .. } = self;
        let page = Page {
            title: format!("{} on {}", report.model.name, report.target.name),
            report,
            summary: summary::summary(report, source),
            accuracy: summary::accuracy_chart(report, source),
            layers: layers::bars(report, source),
            heat: details.as_ref().map(|d| layers::heat(d, report)),
            roofline: layers::roofline(report, source),
            graph: details.as_ref().map(graph::drawing),
            timeline: details.as_ref().map(|d| schedule::timeline(d, report)),
            memory: details.as_ref().map(schedule::memory),
            resources: provenance::resources(report, source),
            energy: provenance::energy(report, source),
            verification: provenance::verification(report, source),
            measured: provenance::measured(report, source),
            rounds: provenance::decisions(log, report.cycles.dense),
            provenance: provenance::provenance(report, source),
        };
        page.render().expect("rendering into a string does not fail")
    }
}

/// Draws the page of the design in `folder` beside its report.
///
/// # Errors
/// As [`Run::load`]; if the file cannot be written.
pub fn write(folder: &Path) -> Result<(), Diagnostics> {
    let html = Run::load(folder)?.html();
    Ok(write_file(&folder.join(FILE), html.as_bytes())?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, Diagnostic> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(path, &error.to_string()))
}

fn unreadable(path: &Path, what: &str) -> Diagnostic {
    Diagnostic::error("invalid-report", path.display().to_string(), what)
        .with_help("give the output folder of `espalier run` or `espalier compile`, made by this version")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: String,
    report: &'a Report,
    summary: summary::Summary,
    accuracy: Option<scale::Plot>,
    layers: Vec<layers::Bars>,
    heat: Option<layers::Heat>,
    roofline: Option<scale::Plot>,
    graph: Option<graph::Drawing>,
    timeline: Option<schedule::Timeline>,
    memory: Option<schedule::Memory>,
    resources: Vec<provenance::Fill>,
    energy: Option<provenance::Energy>,
    verification: Option<provenance::Verification>,
    measured: Vec<provenance::Measured>,
    rounds: Vec<provenance::Round>,
    provenance: Vec<(&'static str, String)>,
}

impl Page<'_> {
    /// Whether clusters lack rows in some layer.
    fn idle_clusters(&self) -> bool {
        self.layers
            .iter()
            .any(|layer| layer.parts.iter().any(|(class, _, share)| *class == "idle-clusters" && *share > 0.0))
    }
}
