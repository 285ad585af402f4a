//! An exporter that writes one line per value, in columns separated by tabs.

use std::io::Write as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

/// Writes name, kind, unit, attributes, value and description to standard output.
pub struct Print;

impl PushMetricExporter for Print {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut lines = String::new();
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            match metric.data() {
                AggregatedMetrics::U64(data) => add(&mut lines, metric, data),
                AggregatedMetrics::I64(data) => add(&mut lines, metric, data),
                AggregatedMetrics::F64(data) => add(&mut lines, metric, data),
            }
        }
        std::io::stdout()
            .write_all(lines.as_bytes())
            .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn add<T: Copy + ToString>(lines: &mut String, metric: &Metric, data: &MetricData<T>) {
    let mut line = |kind: &str, attributes: Vec<String>, value: String| {
        let attributes = attributes.join(",");
        let columns = [metric.name(), kind, metric.unit(), &attributes, &value];
        *lines += &columns.join("\t");
        *lines += "\t";
        *lines += metric.description();
        *lines += "\n";
    };
    match data {
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() {
                "counter"
            } else {
                "up-down counter"
            };
            for point in sum.data_points() {
                line(kind, texts(point.attributes()), point.value().to_string());
            }
        }
        MetricData::Gauge(gauge) => {
            for point in gauge.data_points() {
                line(
                    "gauge",
                    texts(point.attributes()),
                    point.value().to_string(),
                );
            }
        }
        _ => {}
    }
}

fn texts<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Vec<String> {
    let text = |one: &KeyValue| format!("{}={}", one.key, one.value);
    attributes.map(text).collect()
}
