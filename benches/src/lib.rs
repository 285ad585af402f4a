//! Table of benchmark results: each figure with its baseline, ratio and target.

use std::time::{Duration, Instant};

pub mod floors;

pub struct Row {
    pub what: String,
    pub figure: f64,
    pub unit: &'static str,
    /// The baseline's name and figure, in the same unit.
    pub baseline: Option<(&'static str, f64)>,
    /// The target as text, such as "<= 20 ns".
    pub target: &'static str,
}

pub fn row(what: impl Into<String>, figure: f64, unit: &'static str) -> Row {
    Row {
        what: what.into(),
        figure,
        unit,
        baseline: None,
        target: "",
    }
}

impl Row {
    pub fn over(mut self, baseline: &'static str, figure: f64) -> Self {
        self.baseline = Some((baseline, figure));
        self
    }

    pub fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }
}

pub fn print(title: &str, rows: &[Row]) {
    println!("\n{title}");
    println!(
        "  {:<44} {:>12}  {:<34} target",
        "", "measured", "ratio to the baseline"
    );
    for row in rows {
        let figure = format!("{:.*} {}", digits(row.figure), row.figure, row.unit);
        let baseline = row.baseline.map_or_else(String::new, |(name, baseline)| {
            format!(
                "{:.2} x {name} ({:.*})",
                row.figure / baseline,
                digits(baseline),
                baseline
            )
        });
        println!(
            "  {:<44} {figure:>12}  {baseline:<34} {}",
            row.what, row.target
        );
    }
}

fn digits(figure: f64) -> usize {
    if figure < 100.0 { 1 } else { 0 }
}

/// Returns the calls per second of this many threads together; each thread makes its
/// own call. The best of several runs.
pub fn throughput<F: FnMut()>(threads: u32, make: impl Fn() -> F + Sync) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let barrier = std::sync::Barrier::new(threads as usize);
        let rate: f64 = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let mut call = make();
                        barrier.wait();
                        let start = Instant::now();
                        let mut calls = 0_u32;
                        while start.elapsed() < Duration::from_millis(300) {
                            for _ in 0..10_000 {
                                call();
                            }
                            calls += 10_000;
                        }
                        f64::from(calls) / start.elapsed().as_secs_f64()
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        best = best.max(rate);
    }
    best
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
